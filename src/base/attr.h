/* Compiler attributes under names that read well. clang 14 rejects [[nodiscard]] in C, so: macros. */
#pragma once

#define MUST_USE                           __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_index, args_index) __attribute__((format(printf, fmt_index, args_index)))
#define UNUSED                             __attribute__((unused))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
