# The real one writes the description that the Extensions Manager reads; each of these must be there.
foreach(_name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${_name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_name} is not set")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/description.txt" "${_name} ${EXTENSION_${_name}}\n")
endforeach()
