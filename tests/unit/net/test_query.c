#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/query.h"

static void parameters_come_decoded_in_order(void **state) {
    (void)state;
    const char *rest = "model=org%2Fname%3a7b&q=a+b&flag&empty=&same==x";
    const char *const wanted[][2] = {
        {"model", "org/name:7b"}, {"q", "a b"}, {"flag", ""}, {"empty", ""}, {"same", "=x"}};
    struct query_param param;
    struct error error;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_true(query_next(&rest, &param, &error));
        assert_string_equal(param.name, wanted[i][0]);
        assert_string_equal(param.value, wanted[i][1]);
    }
    assert_false(query_next(&rest, &param, &error));
    assert_int_equal(error.status, STATUS_OK);
}

static void empty_queries_have_no_parameters(void **state) {
    (void)state;
    const char *const queries[] = {"", "&", "&&&"};
    struct query_param param;
    struct error error;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        const char *rest = queries[i];
        assert_false(query_next(&rest, &param, &error));
        assert_int_equal(error.status, STATUS_OK);
    }
}

static void broken_encodings_are_refused(void **state) {
    (void)state;
    const struct {
        const char *query;
        const char *param;
    } cases[] = {{"a=%", "a"},   {"a=%1", "a"},      {"a=%zz", "a"},
                 {"a=%00", "a"}, {"a=x%4&b=1", "a"}, {"%=1", ""}};
    struct query_param param;
    struct error error;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *rest = cases[i].query;
        assert_false(query_next(&rest, &param, &error));
        assert_int_equal(error.status, STATUS_REQUEST_VALIDATION_FAILED);
        assert_string_equal(error.param, cases[i].param);
    }
}

/* Builds "<name_len n's>=<value_len v's>". */
static bool accepts(size_t name_len, size_t value_len) {
    char query[1024];
    memset(query, 'n', name_len);
    query[name_len] = '=';
    memset(query + name_len + 1, 'v', value_len);
    query[name_len + 1 + value_len] = '\0';
    const char *rest = query;
    struct query_param param;
    struct error error;
    return query_next(&rest, &param, &error) && strlen(param.name) == name_len &&
           strlen(param.value) == value_len;
}

static void what_is_over_the_maximum_is_refused_not_cut(void **state) {
    (void)state;
    assert_true(accepts(QUERY_NAME_MAX, QUERY_VALUE_MAX));
    assert_false(accepts(QUERY_NAME_MAX + 1, 1));
    assert_false(accepts(1, QUERY_VALUE_MAX + 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_come_decoded_in_order),
        cmocka_unit_test(empty_queries_have_no_parameters),
        cmocka_unit_test(broken_encodings_are_refused),
        cmocka_unit_test(what_is_over_the_maximum_is_refused_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
