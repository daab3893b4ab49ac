"""The bridge to QuPath. annotations.py writes results as GeoJSON that QuPath imports."""
