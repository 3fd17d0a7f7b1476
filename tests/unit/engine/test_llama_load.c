/* Loading: broken files, impossible sizes, progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "engine/engine.h"

#define MODEL MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf"

static struct engine_options options_of(const char *path) {
    return (struct engine_options){
        .model_path = path, .slots = 2, .context_tokens = 256, .batch_tokens = 64, .threads = 1};
}

static void assert_load_fails(const char *path, const char *word) {
    struct error error = {0};
    struct engine_options options = options_of(path);
    assert_null(engine_llama_ops.open(&options, &error));
    assert_int_equal(error.status, STATUS_MODEL_LOAD_FAILED);
    if (!strstr(error.message, word))
        fail_msg("no \"%s\" in: %s", word, error.message);
}

/* The first `len` bytes of the model, with 64 bytes from `damage_at` (when >= 0) overwritten. */
static void write_copy(const char *path, size_t len, long damage_at) {
    FILE *in = fopen(MODEL, "rb"), *out = fopen(path, "wb");
    char block[4096];
    assert_non_null(in);
    assert_non_null(out);
    while (len > 0) {
        size_t got = fread(block, 1, len < sizeof(block) ? len : sizeof(block), in);
        assert_true(got > 0);
        assert_int_equal(fwrite(block, 1, got, out), got);
        len -= got;
    }
    if (damage_at >= 0) {
        char junk[64];
        memset(junk, 0xFF, sizeof(junk));
        assert_int_equal(fseek(out, damage_at, SEEK_SET), 0);
        assert_int_equal(fwrite(junk, 1, sizeof(junk), out), sizeof(junk));
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void broken_files_fail_with_a_reason(void **state) {
    (void)state;
    char path[] = "/tmp/mlx-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_load_fails("/nowhere/model.gguf", "No such file");
    assert_load_fails("/tmp", "not a file");
    assert_load_fails(path, "not a GGUF file");
    assert_load_fails(MLX_SOURCE_DIR "/models/tiny-chat.md", "not a GGUF file");
    static const size_t lengths[] = {4, 20, 1000, 60000, 1000000};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        write_copy(path, lengths[i], -1);
        assert_load_fails(path, path);
    }
    write_copy(path, 1000000, 8); /* counts of tensors and keys */
    assert_load_fails(path, path);
    unlink(path);
}

static void impossible_contexts_fail_with_numbers(void **state) {
    (void)state;
    struct error error = {0};
    struct engine_options options = options_of(MODEL);
    options.slots = 100000;
    options.batch_tokens = 100000;
    assert_null(engine_llama_ops.open(&options, &error));
    assert_int_equal(error.status, STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(error.message, "100000 slots"));
}

struct seen {
    int32_t last;
    int calls;
    int32_t stop_at;
};

static bool on_progress(int32_t percent, void *arg) {
    struct seen *seen = arg;
    assert_true(percent > seen->last && percent <= 100);
    seen->last = percent;
    seen->calls++;
    return percent < seen->stop_at;
}

static void progress_rises_to_100_and_can_abort(void **state) {
    (void)state;
    struct error error;
    struct engine_options options = options_of(MODEL);
    struct seen all = {.last = -1, .stop_at = 101}, abort = {.last = -1, .stop_at = 1};
    options.on_progress = on_progress;
    options.arg = &all;
    struct engine *e = engine_llama_ops.open(&options, &error);
    assert_non_null(e);
    engine_llama_ops.close(e);
    assert_int_equal(all.last, 100);
    assert_true(all.calls >= 2);
    options.arg = &abort;
    assert_null(engine_llama_ops.open(&options, &error));
    assert_non_null(strstr(error.message, "aborted"));
    assert_true(abort.last < 100);
    engine_llama_ops.close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_files_fail_with_a_reason),
        cmocka_unit_test(impossible_contexts_fail_with_numbers),
        cmocka_unit_test(progress_rises_to_100_and_can_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
