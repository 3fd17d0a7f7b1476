#include "engine/fake_fault.h"

#include <stdlib.h>
#include <string.h>

static const char *const words[FAKE_FAULT_COUNT] = {
    [FAKE_FAULT_FAIL] = "[fail at ",   [FAKE_FAULT_STEP_ERROR] = "[step error at ",
    [FAKE_FAULT_CRASH] = "[crash at ", [FAKE_FAULT_HANG] = "[hang at ",
    [FAKE_FAULT_SLOW] = "[slow x",     [FAKE_FAULT_REPLY] = "[reply ",
};

/* `*after` is where the number ends. */
static int32_t read_number(const char *text, const char **after) {
    *after = text;
    if (*text < '0' || *text > '9')
        return FAKE_FAULT_NONE;
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *after = end;
    return value < FAKE_FAULT_VALUES ? (int32_t)value : FAKE_FAULT_NONE;
}

int32_t fake_fault_find(const char *begin, const char *end, enum fake_fault fault) {
    const char *p = memmem(begin, (size_t)(end - begin), words[fault], strlen(words[fault]));
    if (!p)
        return FAKE_FAULT_NONE;
    const char *after;
    int32_t number = read_number(p + strlen(words[fault]), &after);
    return *after == ']' ? number : FAKE_FAULT_NONE;
}

/* Whether `text`, up to its end or comma, says one; `*rest` is what stands behind it. */
static bool read_one(const char *text, int32_t numbers[FAKE_FAULT_COUNT], const char **rest) {
    for (int fault = 0; fault < FAKE_FAULT_COUNT; fault++) {
        const char *word = words[fault] + 1; /* without the bracket */
        if (strncmp(text, word, strlen(word)) != 0)
            continue;
        const char *after;
        numbers[fault] = read_number(text + strlen(word), &after);
        after += strspn(after, " ");
        *rest = after;
        return numbers[fault] != FAKE_FAULT_NONE && (*after == ',' || *after == '\0');
    }
    return false;
}

enum status fake_faults_read(const char *text, int32_t numbers[FAKE_FAULT_COUNT], struct error *error) {
    for (int fault = 0; fault < FAKE_FAULT_COUNT; fault++)
        numbers[fault] = FAKE_FAULT_NONE;
    const char *at = text + strspn(text, " ");
    while (*at) {
        const char *rest;
        if (!read_one(at, numbers, &rest))
            return error_set(error, STATUS_CONFIG_INVALID, "cluster.worker.fake.fault",
                             "cluster.worker.fake.fault: \"%.*s\" is no fault; there are, with commas "
                             "between several: fail at N, step error at N, crash at N, hang at N, slow xN, "
                             "reply N, where N is from 0 to %d",
                             (int)strcspn(at, ","), at, FAKE_FAULT_VALUES - 1);
        bool more = *rest == ',';
        at = rest + more;
        at += strspn(at, " ");
        if (more && !*at)
            return error_set(error, STATUS_CONFIG_INVALID, "cluster.worker.fake.fault",
                             "cluster.worker.fake.fault: nothing follows the last comma");
    }
    return STATUS_OK;
}
