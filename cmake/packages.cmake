# The system's libraries, as imported targets (an imported target's includes are SYSTEM).

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
set(missing "")

function(mlx_package target module)
    pkg_check_modules(${target} QUIET IMPORTED_TARGET GLOBAL ${module})
    if(NOT ${target}_FOUND)
        set(missing ${missing} ${module} PARENT_SCOPE)
    endif()
endfunction()

mlx_package(JANSSON jansson>=2.12)
mlx_package(YAML yaml-0.1)
mlx_package(EVENT_CORE libevent_core>=2.1.12)
mlx_package(EVENT_PTHREADS libevent_pthreads>=2.1.12)
mlx_package(NATS libnats>=3.4)
if(BUILD_TESTING)
    mlx_package(CMOCKA cmocka)
endif()

# http_parser ships no pkg-config file.
find_path(HTTP_PARSER_INCLUDE http_parser.h)
find_library(HTTP_PARSER_LIBRARY http_parser)
if(HTTP_PARSER_INCLUDE AND HTTP_PARSER_LIBRARY)
    add_library(http_parser UNKNOWN IMPORTED GLOBAL)
    set_target_properties(http_parser PROPERTIES
        IMPORTED_LOCATION ${HTTP_PARSER_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${HTTP_PARSER_INCLUDE})
else()
    list(APPEND missing http_parser)
endif()

if(missing)
    list(JOIN missing ", " missing)
    message(FATAL_ERROR "Not found: ${missing}. Run `make setup`, which installs what is missing.")
endif()
