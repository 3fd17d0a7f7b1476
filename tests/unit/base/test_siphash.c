#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/siphash.h"

/* From CPython 3.11, which has SipHash-1-3 as the hash of importlib's pyc files: the bytes 0, 1, 2, ... under
 * a key whose second word is 0. */
static const struct {
    size_t len;
    uint64_t hash;
} rows[] = {
    {0, UINT64_C(0xf46d3bfe2ea281dc)},  {1, UINT64_C(0x5bb2c195fe70a449)},
    {7, UINT64_C(0x3dd20bc6123b60e0)},  {8, UINT64_C(0x5124317f8cfc24cb)},
    {9, UINT64_C(0x9d1f9dbb9125d122)},  {15, UINT64_C(0x7f501f340ece0c62)},
    {16, UINT64_C(0xa07bf4038d638986)}, {63, UINT64_C(0x9c56dbe0649233f3)},
};

static void hashes_are_those_of_another_implementation(void **state) {
    (void)state;
    const struct siphash_key key = {{UINT64_C(0x0706050403020100), 0}};
    unsigned char data[63];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(siphash(&key, data, rows[i].len), rows[i].hash);
}

static void nothing_may_be_hashed(void **state) {
    (void)state;
    const struct siphash_key key = {{UINT64_C(0x0706050403020100), 0}};
    assert_int_equal(siphash(&key, NULL, 0), siphash(&key, "", 0));
}

static void both_words_of_the_key_matter(void **state) {
    (void)state;
    const struct siphash_key keys[] = {{{1, 2}}, {{1, 3}}, {{4, 2}}};
    uint64_t first = siphash(&keys[0], "abc", 3);
    assert_int_not_equal(first, siphash(&keys[1], "abc", 3));
    assert_int_not_equal(first, siphash(&keys[2], "abc", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_another_implementation),
        cmocka_unit_test(nothing_may_be_hashed),
        cmocka_unit_test(both_words_of_the_key_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
