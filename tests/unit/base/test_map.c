#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static void an_empty_map_holds_nothing(void **state) {
    (void)state;
    struct map map;
    map_init(&map);
    size_t cursor = 0;
    const char *key;
    void *value;
    assert_null(map_find(&map, "a"));
    assert_null(map_take(&map, "a"));
    assert_false(map_next(&map, &cursor, &key, &value));
    map_release(&map);
    map_release(&map);
    map_release(NULL);
}

static void keys_are_copied_and_compared_whole(void **state) {
    (void)state;
    struct map map;
    map_init(&map);
    int values[6];
    char key[] = "key";
    assert_true(map_put(&map, key, &values[0]));
    key[0] = 'X';
    assert_true(map_put(&map, "", &values[1]));
    assert_true(map_put(&map, "ke", &values[2]));
    assert_true(map_put(&map, "keyy", &values[3]));
    assert_true(map_put(&map, "12345678", &values[4])); /* a whole word of the hash */
    assert_true(map_put(&map, "123456789", &values[5]));
    assert_ptr_equal(map_find(&map, "key"), &values[0]);
    assert_null(map_find(&map, "Xey"));
    assert_ptr_equal(map_find(&map, ""), &values[1]);
    assert_ptr_equal(map_find(&map, "ke"), &values[2]);
    assert_ptr_equal(map_find(&map, "keyy"), &values[3]);
    assert_ptr_equal(map_find(&map, "12345678"), &values[4]);
    assert_ptr_equal(map_find(&map, "123456789"), &values[5]);
    map_release(&map);
}

static void putting_again_replaces_the_value(void **state) {
    (void)state;
    struct map map;
    map_init(&map);
    int first, second;
    assert_true(map_put(&map, "key", &first));
    assert_true(map_put(&map, "key", &second));
    assert_int_equal(map.count, 1);
    assert_ptr_equal(map_take(&map, "key"), &second);
    assert_null(map_take(&map, "key"));
    assert_int_equal(map.count, 0);
    map_release(&map);
}

enum { KEYS = 400 };

static void key_name(char out[32], size_t i) {
    snprintf(out, 32, "key-%zu", i);
}

/* Each key is met once in a walk, with its value. */
static void check_walk(const struct map *map, char *const expected[KEYS]) {
    bool seen[KEYS] = {false};
    size_t cursor = 0, count = 0;
    const char *key;
    void *value;
    while (map_next(map, &cursor, &key, &value)) {
        unsigned i;
        assert_int_equal(sscanf(key, "key-%u", &i), 1);
        assert_true(i < KEYS && !seen[i]);
        assert_ptr_equal(value, expected[i]);
        seen[i] = true;
        count++;
    }
    assert_int_equal(count, map->count);
}

/* Phases of growing and shrinking, so that the table is rebuilt both ways and full of tombstones. */
static void any_sequence_of_changes_is_what_a_plain_array_says(void **state) {
    (void)state;
    static char memory[1000];
    char *expected[KEYS] = {NULL};
    size_t count = 0;
    struct rng rng;
    rng_seed(&rng, 6);
    struct map map;
    map_init(&map);
    for (int step = 0; step < 60000; step++) {
        char key[32];
        size_t i = rng_below(&rng, step / 3000 % 2 ? KEYS : 30);
        key_name(key, i);
        assert_ptr_equal(map_find(&map, key), expected[i]);
        if (rng_below(&rng, 10) < (step / 5000 % 2 ? 7u : 3u)) {
            char *value = memory + rng_below(&rng, sizeof memory);
            assert_true(map_put(&map, key, value));
            count += !expected[i];
            expected[i] = value;
        } else {
            assert_ptr_equal(map_take(&map, key), expected[i]);
            count -= expected[i] != NULL;
            expected[i] = NULL;
        }
        assert_int_equal(map.count, count);
        if (step % 500 == 0)
            check_walk(&map, expected);
    }
    map_release(&map);
}

static void keys_that_come_and_go_do_not_grow_the_table(void **state) {
    (void)state;
    struct map map;
    map_init(&map);
    int value;
    for (size_t i = 0; i < 100000; i++) {
        char key[32];
        key_name(key, i);
        assert_true(map_put(&map, key, &value));
        if (i >= 8) {
            key_name(key, i - 8);
            assert_ptr_equal(map_take(&map, key), &value);
        }
        assert_true(map.cap <= 32);
        assert_true(map.used >= map.count && map.used < map.cap);
    }
    map_release(&map);
}

static void an_emptied_table_has_forgotten_all_keys_and_takes_new_ones(void **state) {
    (void)state;
    struct map map;
    map_init(&map);
    int value;
    char key[32];
    for (size_t i = 0; i < 5000; i++) {
        key_name(key, i);
        assert_true(map_put(&map, key, &value));
    }
    for (size_t i = 0; i < 5000; i++) {
        key_name(key, i);
        assert_ptr_equal(map_take(&map, key), &value);
    }
    assert_int_equal(map.used, 0); /* no tombstone is left */
    for (size_t i = 0; i < 5000; i++) {
        key_name(key, i);
        assert_null(map_find(&map, key));
    }
    for (size_t i = 0; i < 100; i++) {
        key_name(key, i);
        assert_true(map_put(&map, key, &value));
    }
    assert_int_equal(map.count, 100);
    map_release(&map);
}

static void a_walk_may_take_the_key_it_has_just_met(void **state) {
    (void)state;
    struct map map;
    map_init(&map);
    bool met[KEYS] = {false};
    for (size_t i = 0; i < KEYS; i++) {
        char key[32];
        key_name(key, i);
        assert_true(map_put(&map, key, &met[i]));
    }
    size_t cursor = 0, left = KEYS;
    const char *key;
    void *value;
    while (map_next(&map, &cursor, &key, &value)) {
        bool *flag = value;
        assert_false(*flag);
        *flag = true;
        if ((flag - met) % 3) {
            assert_ptr_equal(map_take(&map, key), flag); /* frees `key` */
            left--;
        }
    }
    for (size_t i = 0; i < KEYS; i++) {
        char name[32];
        key_name(name, i);
        assert_true(met[i]);
        assert_ptr_equal(map_find(&map, name), i % 3 ? NULL : &met[i]);
    }
    assert_int_equal(map.count, left);
    map_release(&map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_holds_nothing),
        cmocka_unit_test(keys_are_copied_and_compared_whole),
        cmocka_unit_test(putting_again_replaces_the_value),
        cmocka_unit_test(any_sequence_of_changes_is_what_a_plain_array_says),
        cmocka_unit_test(keys_that_come_and_go_do_not_grow_the_table),
        cmocka_unit_test(an_emptied_table_has_forgotten_all_keys_and_takes_new_ones),
        cmocka_unit_test(a_walk_may_take_the_key_it_has_just_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
