"""Stand-ins for what only the 3D Slicer application has, so that its widget can be driven without it.

qt_names.py   PySide6's classes under one name, as Slicer's ``qt`` has PythonQt's
widgets.py    ctk and qMRML widgets, as far as the panel uses them; loading of a .ui file
slicer_app.py ``slicer.app``, ScriptedLoadableModule, parameterNodeWrapper, slicer.util.loadUI over slicer-core

What they do was written after Slicer's documentation and sources, by hand: a test that passes with them says that our
code is right as far as they are.
"""
