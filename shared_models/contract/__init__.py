"""What crosses the wire: values, errors, codec. Standard library and numpy only, Python 3.9."""
