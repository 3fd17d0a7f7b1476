# Finds llama.cpp >= 0.5.0 and makes of it the imported target mlx_llama (llama.h, and llama-common's chat.h).
# A llama.cpp of the system is used where it carries llama-common and its headers, which most packages do
# not; else the copy that scripts/get-llama.sh has put into the cache.

add_library(mlx_llama INTERFACE IMPORTED GLOBAL)

function(mlx_llama_from_system found)
    set(${found} FALSE PARENT_SCOPE)
    find_package(llama CONFIG QUIET)
    if(NOT llama_FOUND OR llama_VERSION VERSION_LESS 0.5.0)
        return()
    endif()
    find_library(LLAMA_COMMON_LIBRARY llama-common HINTS ${LLAMA_LIB_DIR})
    find_path(LLAMA_COMMON_INCLUDE chat.h
        HINTS ${LLAMA_INCLUDE_DIR} PATH_SUFFIXES llama-common llama.cpp/common common NO_CACHE)
    # A static llama-common would need archives that nobody installs. peg-parser.h tells its chat.h from others.
    if(NOT LLAMA_COMMON_LIBRARY MATCHES "\\.(so|dylib)$" OR NOT EXISTS "${LLAMA_COMMON_INCLUDE}/peg-parser.h")
        return()
    endif()
    target_include_directories(mlx_llama SYSTEM INTERFACE ${LLAMA_INCLUDE_DIR} ${LLAMA_COMMON_INCLUDE})
    target_link_libraries(mlx_llama INTERFACE ${LLAMA_COMMON_LIBRARY} llama)
    message(STATUS "llama.cpp ${llama_VERSION} of the system: ${LLAMA_LIB_DIR}")
    set(${found} TRUE PARENT_SCOPE)
endfunction()

function(mlx_llama_from_cache)
    set(script ${PROJECT_SOURCE_DIR}/scripts/get-llama.sh)
    execute_process(COMMAND ${script} --print-dir
        OUTPUT_VARIABLE dir OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    if(NOT EXISTS ${dir}/link.txt)
        message(FATAL_ERROR "llama.cpp is not built yet (looked in ${dir}). Run `make setup`, or "
            "scripts/get-llama.sh alone; -DMLX_WITH_LLAMA=OFF builds without it.")
    endif()
    # link.txt: what to link, in order, one a line; a plain name is an archive of lib/.
    file(STRINGS ${dir}/link.txt names)
    foreach(name ${names})
        if(name MATCHES "^lib.*\\.a$")
            list(APPEND libraries ${dir}/lib/${name})
        else()
            list(APPEND libraries ${name})
        endif()
    endforeach()
    target_include_directories(mlx_llama SYSTEM INTERFACE
        ${dir}/include ${dir}/include/common ${dir}/include/vendor)
    target_link_libraries(mlx_llama INTERFACE ${libraries} Threads::Threads ${CMAKE_DL_LIBS} m)
    set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${dir}/link.txt)
    message(STATUS "llama.cpp of the cache: ${dir}")
endfunction()

mlx_llama_from_system(found)
if(NOT found)
    mlx_llama_from_cache()
endif()
