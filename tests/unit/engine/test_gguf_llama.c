/* Our table of tensor types against that of the llama.cpp that is linked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "engine/gguf_types.h"
#include "ggml.h"

static void every_type_has_the_size_that_llama_cpp_reads(void **state) {
    (void)state;
    assert_int_equal(GGUF_TENSOR_TYPES, GGML_TYPE_COUNT);
    for (uint32_t i = 0; i < GGUF_TENSOR_TYPES; i++) {
        const struct gguf_tensor_type *type = gguf_tensor_type(i);
        enum ggml_type theirs = (enum ggml_type)i;
        if (!type) {
            assert_int_equal(ggml_blck_size(theirs), 0);
            continue;
        }
        assert_int_equal(type->block, ggml_blck_size(theirs));
        assert_int_equal(type->block_bytes, ggml_type_size(theirs));
        assert_int_equal(strcasecmp(type->name, ggml_type_name(theirs)), 0);
    }
    assert_null(gguf_tensor_type(GGUF_TENSOR_TYPES));
    assert_null(gguf_tensor_type(UINT32_MAX));
}

static void every_cache_type_has_blocks_as_llama_cpp(void **state) {
    (void)state;
#define X(name, numbers, bytes)                                    \
    assert_int_equal((numbers), ggml_blck_size(GGML_TYPE_##name)); \
    assert_int_equal((bytes), ggml_type_size(GGML_TYPE_##name));
    ENGINE_CACHE_MAP(X)
#undef X
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_the_size_that_llama_cpp_reads),
        cmocka_unit_test(every_cache_type_has_blocks_as_llama_cpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
