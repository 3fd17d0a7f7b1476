#include "wire_harm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/rng.h"

enum { CHANGES = 3000, CHANGED_BYTES_MAX = 3 };

static bool read_copy(wire_read_fn *read, const char *data, size_t len) {
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    bool ok = read(copy, len);
    free(copy);
    return ok;
}

/* A random bit, or a character that means something in JSON. */
static void change(struct rng *rng, char *byte) {
    static const char meaningful[] = "{}[]\",:\\0-9.eE \n\0";
    if (rng_below(rng, 2))
        *byte = (char)(*byte ^ (1 << rng_below(rng, 8)));
    else
        *byte = meaningful[rng_below(rng, sizeof meaningful)];
}

void wire_harm(wire_read_fn *read, const char *message, size_t len) {
    assert_true(read_copy(read, message, len));
    for (size_t cut = 0; cut < len; cut++)
        assert_false(read_copy(read, message, cut));
    struct rng rng;
    rng_seed(&rng, len);
    char *changed = malloc(len);
    assert_non_null(changed);
    for (int round = 0; round < CHANGES; round++) {
        memcpy(changed, message, len);
        for (uint64_t left = 1 + rng_below(&rng, CHANGED_BYTES_MAX); left > 0; left--)
            change(&rng, &changed[rng_below(&rng, len)]);
        (void)read_copy(read, changed, len);
    }
    free(changed);
}

void wire_harm_version(wire_read_fn *read, const char *message, size_t len) {
    static const char ours[] = "{\"v\":1,";
    assert_true(len > strlen(ours) && memcmp(message, ours, strlen(ours)) == 0);
    static const struct {
        const char *begin;
        bool accepted;
    } cases[] = {{"{\"v\":1,\"unknown\":[{\"deep\":{}}],", true},
                 {"{\"v\":2,", false},
                 {"{\"v\":0,", false},
                 {"{\"v\":\"1\",", false},
                 {"{\"v\":true,", false},
                 {"{", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text;
        buf_init(&text, 0);
        buf_append_str(&text, cases[i].begin);
        buf_append(&text, message + strlen(ours), len - strlen(ours));
        if (read_copy(read, text.data, text.len) != cases[i].accepted)
            fail_msg("%s... is %s", cases[i].begin, cases[i].accepted ? "refused" : "accepted");
        buf_release(&text);
    }
}
