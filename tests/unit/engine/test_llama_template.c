/* Chat templates of other kinds than tiny-chat's own: each test loads the model with the template in its file
 * replaced. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "engine/engine.h"

#define MODEL MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf"

enum { NOON_S = 1699963200 /* 2023-11-14 12:00 UTC: the same day in nearly every time zone */ };

static char *read_model(size_t *len) {
    struct stat file;
    int fd = open(MODEL, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &file), 0);
    char *bytes = malloc((size_t)file.st_size);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, (size_t)file.st_size), file.st_size);
    close(fd);
    *len = (size_t)file.st_size;
    return bytes;
}

/* In GGUF: the key, 4 bytes of type, 8 bytes of length, the text. The length stays: a comment fills it up. */
static void replace_template(char *bytes, size_t len, const char *text) {
    static const char key[] = "tokenizer.chat_template";
    char *at = memmem(bytes, len, key, strlen(key));
    uint64_t old_len;
    assert_non_null(at);
    at += strlen(key) + 4;
    memcpy(&old_len, at, sizeof(old_len));
    at += sizeof(old_len);
    size_t new_len = strlen(text);
    assert_true(new_len + 4 <= old_len);
    memset(at, ' ', old_len);
    memcpy(at, text, new_len);
    memcpy(at + new_len, "{#", 2);
    memcpy(at + old_len - 2, "#}", 2);
}

static struct engine *open_with(const char *text, struct error *error) {
    char path[] = "/tmp/mlx-test-XXXXXX";
    size_t len;
    char *bytes = read_model(&len);
    replace_template(bytes, len, text);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
    free(bytes);
    struct engine_options options = {
        .model_path = path, .slots = 1, .context_tokens = 256, .batch_tokens = 64, .threads = 1};
    struct engine *e = engine_llama_ops.open(&options, error);
    unlink(path);
    return e;
}

/* Renders and tokenizes; the prompt as text, with an * for each control token. The caller frees it. */
static char *prompt_text(struct engine *e, const char *messages, enum status *status, struct error *error) {
    char json[512];
    struct engine_prompt prompt;
    struct buf text;
    snprintf(json, sizeof(json), "%s", messages);
    struct chat_request chat = {.messages_json = json};
    *status = engine_make_prompt(e, &chat, NOON_S, &prompt, error);
    if (*status != STATUS_OK)
        return NULL;
    buf_init(&text, 0);
    for (size_t i = 0; i < prompt.count; i++) {
        char piece[ENGINE_PIECE_MAX];
        size_t len = engine_piece(e, prompt.tokens[i], piece, sizeof(piece));
        buf_append(&text, len ? piece : "*", len ? len : 1);
    }
    engine_prompt_release(&prompt);
    return buf_take(&text);
}

static void assert_prompt(const char *template, const char *messages, const char *expected) {
    struct error error = {0};
    enum status status;
    struct engine *e = open_with(template, &error);
    if (!e)
        fail_msg("%s", error.message);
    char *text = prompt_text(e, messages, &status, &error);
    if (!text)
        fail_msg("%s", error.message);
    assert_string_equal(text, expected);
    free(text);
    engine_llama_ops.close(e);
}

static void the_given_time_is_printed(void **state) {
    (void)state;
    assert_prompt("{{ strftime_now('%Y-%m-%d') }}|{{ date_string }}|{{ messages[0].content }}",
                  "[{\"role\":\"user\",\"content\":\"Hi\"}]", "2023-11-14|14 Nov 2023|Hi");
}

static void what_the_template_raises_reaches_the_client(void **state) {
    (void)state;
    struct error error = {0};
    enum status status;
    struct engine *e =
        open_with("{% if messages|length > 1 %}{{ raise_exception('roles must alternate') }}{% endif %}"
                  "{{ messages[0].content }}",
                  &error);
    assert_non_null(e);
    assert_null(
        prompt_text(e, "[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"user\",\"content\":\"secret\"}]",
                    &status, &error));
    assert_int_equal(status, STATUS_REQUEST_VALIDATION_FAILED);
    assert_non_null(strstr(error.message, "roles must alternate"));
    assert_null(strstr(error.message, "secret"));
    engine_llama_ops.close(e);
}

static void a_system_message_is_folded_where_there_is_no_such_role(void **state) {
    (void)state;
    static const char template[] =
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}{% endfor %}";
    assert_prompt(
        template,
        "[{\"role\":\"system\",\"content\":\"Be short.\"},{\"role\":\"developer\",\"content\":\"No jokes.\"},"
        "{\"role\":\"user\",\"content\":\"Hi\"}]",
        "*user:Be short.\nNo jokes.\nHi");
    assert_prompt(template, "[{\"role\":\"system\",\"content\":\"Be short.\"}]", "*user:Be short.");
}

static void strings_become_parts_where_only_parts_are_read(void **state) {
    (void)state;
    assert_prompt("{% for m in messages %}<|im_start|>{% for part in m.content %}{% if part.type == 'text' %}"
                  "{{ part.text }}{% endif %}{% endfor %}{% endfor %}",
                  "[{\"role\":\"user\",\"content\":\"Hi <|im_start|>\"}]", "*Hi <|im_start|>");
}

static void markers_that_a_template_puts_together_are_markers(void **state) {
    (void)state;
    assert_prompt(
        "{% for m in messages %}{{ '<|im_' + ('start' if m.role == 'user' else 'end') + '|>' }}"
        "{{ m.content | trim }}{{ eos_token }}{% endfor %}",
        "[{\"role\":\"user\",\"content\":\" Hi <|im_end|> \"},{\"role\":\"assistant\",\"content\":\"Oh\"}]",
        "*Hi <|im_end|>**Oh*");
}

static void a_template_that_does_not_parse_fails_the_load(void **state) {
    (void)state;
    struct error error = {0};
    assert_null(open_with("{% if %}{{ messages[0].content }}", &error));
    assert_int_equal(error.status, STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(error.message, "template"));
}

static void an_empty_prompt_is_refused(void **state) {
    (void)state;
    struct error error = {0};
    enum status status;
    struct engine *e = open_with("{% for m in messages %}{{ m.content | trim }}{% endfor %}", &error);
    assert_non_null(e);
    assert_null(prompt_text(e, "[{\"role\":\"user\",\"content\":\" \"}]", &status, &error));
    assert_int_equal(status, STATUS_REQUEST_VALIDATION_FAILED);
    engine_llama_ops.close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_given_time_is_printed),
        cmocka_unit_test(what_the_template_raises_reaches_the_client),
        cmocka_unit_test(a_system_message_is_folded_where_there_is_no_such_role),
        cmocka_unit_test(strings_become_parts_where_only_parts_are_read),
        cmocka_unit_test(markers_that_a_template_puts_together_are_markers),
        cmocka_unit_test(a_template_that_does_not_parse_fails_the_load),
        cmocka_unit_test(an_empty_prompt_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
