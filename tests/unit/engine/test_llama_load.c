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
#include "llama.h"

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

/* The kernel refuses some users to lock memory, but not others; so llama.cpp's own words are said for it. */
static bool say_that_nothing_is_locked(int32_t percent, void *arg) {
    ggml_log_callback log;
    void *log_arg;
    (void)percent;
    (void)arg;
    llama_log_get(&log, &log_arg);
    log(GGML_LOG_LEVEL_WARN, "warning: failed to mlock 5-byte buffer (after previously locking 0 bytes)\n",
        log_arg);
    return true;
}

static void memory_that_cannot_be_locked_is_an_error(void **state) {
    (void)state;
    struct error error = {0};
    struct engine_options options = options_of(MODEL);
    options.load_mode = ENGINE_LOAD_MLOCK;
    options.on_progress = say_that_nothing_is_locked;
    assert_null(engine_llama_ops.open(&options, &error));
    assert_int_equal(error.status, STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(error.message, "cannot be locked; allow it (ulimit -l)"));
    /* The next load is judged by itself. */
    options.on_progress = NULL;
    options.load_mode = ENGINE_LOAD_READ;
    struct engine *e = engine_llama_ops.open(&options, &error);
    assert_non_null(e);
    engine_llama_ops.close(e);
}

/* What llama.cpp logs of a load, which tells what is in force. */
static char said[65536];
static size_t said_len;

static void keep_log(enum ggml_log_level level, const char *text, void *arg) {
    (void)level;
    (void)arg;
    int len = snprintf(said + said_len, sizeof(said) - said_len, "%s", text);
    if (len > 0 && (size_t)len < sizeof(said) - said_len)
        said_len += (size_t)len;
}

static struct engine_info load_and_listen(const struct engine_options *options) {
    struct error error = {0};
    struct engine_info info;
    (void)engine_llama_ops.list_gpus(NULL, 0); /* sets the engine's own log, once */
    llama_log_set(keep_log, NULL);
    said_len = 0;
    said[0] = '\0';
    struct engine *e = engine_llama_ops.open(options, &error);
    if (!e)
        fail_msg("%s", error.message);
    engine_llama_ops.info(e, &info);
    engine_llama_ops.close(e);
    return info;
}

static void assert_said(const char *text) {
    if (!strstr(said, text))
        fail_msg("llama.cpp did not say \"%s\": %s", text, said);
}

static void threads_and_sizes_are_those_of_the_options(void **state) {
    (void)state;
    struct engine_options options = options_of(MODEL);
    options.context_tokens = 512; /* no batch is larger than all contexts */
    struct engine_info info = load_and_listen(&options);
    assert_int_equal(info.micro_batch_tokens, 64);
    assert_int_equal(info.threads_batch, 1);
    options.batch_tokens = 1024;
    options.threads = 2;
    options.threads_batch = 3;
    info = load_and_listen(&options);
    assert_int_equal(info.batch_tokens, 1024);
    assert_int_equal(info.micro_batch_tokens, 512);
    assert_int_equal(info.threads, 2);
    assert_int_equal(info.threads_batch, 3);
    options.micro_batch_tokens = 640;
    info = load_and_listen(&options);
    assert_int_equal(info.micro_batch_tokens, 640);
}

static void cache_types_and_flash_attention_are_those_of_the_options(void **state) {
    (void)state;
    struct engine_options options = options_of(MODEL);
    (void)load_and_listen(&options);
    assert_said("flash_attn            = auto");
    assert_said("K (f16):");
    assert_said("V (f16):");
    options.cache_type_k = ENGINE_CACHE_Q8_0;
    options.cache_type_v = ENGINE_CACHE_BF16;
    options.flash = ENGINE_FLASH_OFF;
    (void)load_and_listen(&options);
    assert_said("flash_attn            = disabled");
    assert_said("K (q8_0):");
    assert_said("V (bf16):");
    options.cache_type_v = ENGINE_CACHE_Q4_0;
    options.flash = ENGINE_FLASH_ON;
    (void)load_and_listen(&options);
    assert_said("flash_attn            = enabled");
    assert_said("V (q4_0):");
}

static void a_file_is_loaded_in_the_mode_of_the_options(void **state) {
    (void)state;
    static const struct {
        enum engine_load_mode mode;
        const char *said;
    } rows[] = {
        {ENGINE_LOAD_READ, "(load_mode = none)"},
        {ENGINE_LOAD_MMAP, "(load_mode = mmap)"},
        {ENGINE_LOAD_DIRECT_IO, "(load_mode = dio)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct engine_options options = options_of(MODEL);
        options.load_mode = rows[i].mode;
        (void)load_and_listen(&options);
        assert_said(rows[i].said);
    }
}

static void gpus_that_are_not_there_are_refused_with_what_is(void **state) {
    (void)state;
    static const char *const names[] = {"CUDA99"};
    struct error error = {0};
    struct engine_options options = options_of(MODEL);
    options.devices = names;
    options.device_count = 1;
    assert_null(engine_llama_ops.open(&options, &error));
    assert_int_equal(error.status, STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(error.message, "there is no GPU \"CUDA99\"; there are "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_files_fail_with_a_reason),
        cmocka_unit_test(impossible_contexts_fail_with_numbers),
        cmocka_unit_test(progress_rises_to_100_and_can_abort),
        cmocka_unit_test(gpus_that_are_not_there_are_refused_with_what_is),
        cmocka_unit_test(memory_that_cannot_be_locked_is_an_error),
        cmocka_unit_test(threads_and_sizes_are_those_of_the_options),
        cmocka_unit_test(cache_types_and_flash_attention_are_those_of_the_options),
        cmocka_unit_test(a_file_is_loaded_in_the_mode_of_the_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
