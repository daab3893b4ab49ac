# The real one packs the installed tree; nothing to do for a test.
