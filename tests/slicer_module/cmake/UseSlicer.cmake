include(CTest)
include(CMakeParseArguments)

macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(_needed TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT DEFINED MY_${_needed})
      message(FATAL_ERROR "${_needed} is mandatory")
    endif()
  endforeach()
  if(NOT DEFINED MY_SOURCE_DIR)
    set(MY_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  set(_copied)
  foreach(_file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS "${MY_SOURCE_DIR}/${_file}")
      message(FATAL_ERROR "nonexistent file '${_file}' in ${MY_SOURCE_DIR}")
    endif()
    add_custom_command(
      OUTPUT "${MY_DESTINATION_DIR}/${_file}"
      COMMAND ${CMAKE_COMMAND} -E copy "${MY_SOURCE_DIR}/${_file}" "${MY_DESTINATION_DIR}/${_file}"
      DEPENDS "${MY_SOURCE_DIR}/${_file}"
      )
    list(APPEND _copied "${MY_DESTINATION_DIR}/${_file}")
  endforeach()
  add_custom_target(Copy${MY_TARGET_NAME}PythonFiles ALL DEPENDS ${_copied})
  set(_directory "${MY_DESTINATION_DIR}")
  if(MY_NO_INSTALL_SUBDIR)
    set(_directory "${MY_DESTINATION_DIR}/")
  endif()
  install(DIRECTORY "${_directory}" DESTINATION "${MY_INSTALL_DIR}" COMPONENT RuntimeLibraries USE_SOURCE_PERMISSIONS)
endmacro()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY_SLICER "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_SLICER_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown keywords: ${MY_SLICER_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED MY_SLICER_NAME)
    message(FATAL_ERROR "NAME is mandatory")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MY_SLICER_NAME}
    SCRIPTS ${MY_SLICER_SCRIPTS}
    RESOURCES ${MY_SLICER_RESOURCES}
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT}")
    message(FATAL_ERROR "nonexistent test '${MY_SCRIPT}' in ${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
  get_filename_component(_test ${MY_SCRIPT} NAME_WE)
  add_test(NAME py_${_test} COMMAND ${CMAKE_COMMAND} -E echo "runs in 3D Slicer only")
endmacro()
