#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "route/poison.h"

static const struct siphash_key key = {{33, 44}};
#define HELLO "[{\"role\":\"user\",\"content\":\"hello\"}]"
#define OTHER "[{\"role\":\"user\",\"content\":\"other\"}]"

static struct poison fresh(void) {
    struct poison poison;
    poison_init(&poison, &key);
    return poison;
}

static void nothing_is_listed_at_first(void **state) {
    (void)state;
    struct poison poison = fresh();
    assert_false(poison_has(&poison, "m", HELLO, 0));
    assert_int_equal(poison.denied, 0);
}

static void a_listed_request_is_denied_and_no_other(void **state) {
    (void)state;
    struct poison poison = fresh();
    poison_add(&poison, "m", HELLO, 0);
    assert_true(poison_has(&poison, "m", HELLO, 1));
    assert_false(poison_has(&poison, "m", OTHER, 1));
    assert_false(poison_has(&poison, "m2", HELLO, 1));
    assert_int_equal(poison.denied, 1);
    assert_int_equal(poison.added, 1);
}

static void text_moved_between_model_and_messages_is_another_request(void **state) {
    (void)state;
    struct poison poison = fresh();
    poison_add(&poison, "ab", "c", 0);
    assert_false(poison_has(&poison, "a", "bc", 0));
    assert_false(poison_has(&poison, "abc", "", 0));
    assert_false(poison_has(&poison, "c", "ab", 0));
    assert_true(poison_has(&poison, "ab", "c", 0));
}

static void entries_expire_after_ten_minutes(void **state) {
    (void)state;
    struct poison poison = fresh();
    poison_add(&poison, "m", HELLO, 1000);
    poison_add(&poison, "m", OTHER, 2000);
    assert_true(poison_has(&poison, "m", HELLO, 1000 + POISON_TTL_MS - 1));
    assert_false(poison_has(&poison, "m", HELLO, 1000 + POISON_TTL_MS));
    assert_true(poison_has(&poison, "m", OTHER, 1000 + POISON_TTL_MS));
    assert_int_equal(poison.count, 1);
}

static void being_denied_does_not_prolong_the_time(void **state) {
    (void)state;
    struct poison poison = fresh();
    poison_add(&poison, "m", HELLO, 0);
    for (int64_t now_ms = 0; now_ms < POISON_TTL_MS; now_ms += 10000)
        assert_true(poison_has(&poison, "m", HELLO, now_ms));
    assert_false(poison_has(&poison, "m", HELLO, POISON_TTL_MS));
}

static void adding_again_renews_without_a_second_entry(void **state) {
    (void)state;
    struct poison poison = fresh();
    poison_add(&poison, "m", HELLO, 0);
    poison_add(&poison, "m", OTHER, 1);
    poison_add(&poison, "m", HELLO, 2);
    assert_int_equal(poison.count, 2);
    assert_true(poison_has(&poison, "m", HELLO, POISON_TTL_MS + 1));
    assert_false(poison_has(&poison, "m", OTHER, POISON_TTL_MS + 1));
}

static void add_numbered(struct poison *poison, int i, int64_t now_ms) {
    char text[16];
    snprintf(text, sizeof(text), "[%d]", i);
    poison_add(poison, "m", text, now_ms);
}

static bool has_numbered(struct poison *poison, int i, int64_t now_ms) {
    char text[16];
    snprintf(text, sizeof(text), "[%d]", i);
    return poison_has(poison, "m", text, now_ms);
}

static void a_full_list_forgets_the_oldest(void **state) {
    (void)state;
    struct poison poison = fresh();
    for (int i = 0; i < POISON_MAX + 10; i++)
        add_numbered(&poison, i, i);
    assert_int_equal(poison.count, POISON_MAX);
    assert_int_equal(poison.evicted, 10);
    for (int i = 0; i < POISON_MAX + 10; i++)
        assert_int_equal(has_numbered(&poison, i, POISON_MAX + 10), i >= 10);
}

static void a_renewed_entry_is_not_the_oldest_any_more(void **state) {
    (void)state;
    struct poison poison = fresh();
    for (int i = 0; i < POISON_MAX; i++)
        add_numbered(&poison, i, i);
    add_numbered(&poison, 0, POISON_MAX);
    assert_int_equal(poison.evicted, 0);
    add_numbered(&poison, POISON_MAX, POISON_MAX + 1);
    assert_true(has_numbered(&poison, 0, POISON_MAX + 1));
    assert_false(has_numbered(&poison, 1, POISON_MAX + 1));
}

static void a_full_list_that_expired_makes_room_without_evicting(void **state) {
    (void)state;
    struct poison poison = fresh();
    for (int i = 0; i < POISON_MAX; i++)
        add_numbered(&poison, i, 0);
    add_numbered(&poison, POISON_MAX, POISON_TTL_MS);
    assert_int_equal(poison.count, 1);
    assert_int_equal(poison.evicted, 0);
}

static void what_is_listed_depends_on_the_key(void **state) {
    (void)state;
    struct poison a = fresh(), b;
    poison_init(&b, &(struct siphash_key){{33, 45}});
    poison_add(&a, "m", HELLO, 0);
    poison_add(&b, "m", HELLO, 0);
    assert_int_not_equal(a.entries[0].hash, b.entries[0].hash);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_listed_at_first),
        cmocka_unit_test(a_listed_request_is_denied_and_no_other),
        cmocka_unit_test(text_moved_between_model_and_messages_is_another_request),
        cmocka_unit_test(entries_expire_after_ten_minutes),
        cmocka_unit_test(being_denied_does_not_prolong_the_time),
        cmocka_unit_test(adding_again_renews_without_a_second_entry),
        cmocka_unit_test(a_full_list_forgets_the_oldest),
        cmocka_unit_test(a_renewed_entry_is_not_the_oldest_any_more),
        cmocka_unit_test(a_full_list_that_expired_makes_room_without_evicting),
        cmocka_unit_test(what_is_listed_depends_on_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
