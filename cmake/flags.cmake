# Compiler flags for our own code, carried by one interface target, mlx_flags. Libraries come in as SYSTEM
# includes, so none of the warnings looks at them.

add_library(mlx_flags INTERFACE)
target_include_directories(mlx_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(mlx_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE=> # as g++ does by itself; empty, so that a file may define it again
    MLX_VERSION="${PROJECT_VERSION}"
    MLX_WITH_LLAMA=$<BOOL:${MLX_WITH_LLAMA}>)

target_compile_options(mlx_flags INTERFACE
    -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla
    -Wimplicit-fallthrough -Wswitch-enum
    $<$<COMPILE_LANGUAGE:C>:-Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes>
    # g++ takes no strftime format but a literal, whatever its attributes say.
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-format-nonliteral>
    $<$<BOOL:${MLX_WERROR}>:-Werror>)

if(MLX_HARDEN)
    target_compile_options(mlx_flags INTERFACE
        -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|i.86")
        target_compile_options(mlx_flags INTERFACE -fcf-protection)
    endif()
    target_link_options(mlx_flags INTERFACE -Wl,-z,relro,-z,now -Wl,-z,noexecstack)
endif()

if(MLX_SANITIZE)
    set(sanitize -fsanitize=${MLX_SANITIZE} -fno-omit-frame-pointer)
    if(MLX_SANITIZE MATCHES "undefined")
        list(APPEND sanitize -fno-sanitize-recover=all)
    endif()
    target_compile_options(mlx_flags INTERFACE ${sanitize})
    target_link_options(mlx_flags INTERFACE ${sanitize})
endif()

if(MLX_COVERAGE)
    target_compile_options(mlx_flags INTERFACE --coverage -fprofile-update=atomic)
    target_link_options(mlx_flags INTERFACE --coverage)
endif()

if(MLX_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "MLX_FUZZ needs clang: use the fuzz preset, or -DCMAKE_C_COMPILER=clang")
    endif()
    target_compile_options(mlx_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
