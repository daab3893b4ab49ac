# A stand-in for a Slicer build tree, for tests/slicer_module/test_install_tree.py: the variables and macros that our
# CMakeLists.txt use, doing to files what Slicer's and CTK's own do (SlicerMacroBuildScriptedModule.cmake,
# ctkMacroCompilePythonScript.cmake): each named script and resource is copied into the build tree when it is built, and
# the build tree's folder of scripted modules is installed. A name without a file is an error. Nothing is byte-compiled.

set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.10/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.10/qt-scripted-modules")
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/CPack.cmake")
