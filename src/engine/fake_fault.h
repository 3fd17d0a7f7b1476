/* The faults of the fake engine as words: in a prompt, "[fail at 3]", for one request; in the configuration
 * of a worker, "fail at 3, slow x10", for all that it runs. engine_fake.h says what each does. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"

enum fake_fault {
    FAKE_FAULT_FAIL,
    FAKE_FAULT_STEP_ERROR,
    FAKE_FAULT_CRASH,
    FAKE_FAULT_HANG,
    FAKE_FAULT_SLOW,
    FAKE_FAULT_REPLY,
    FAKE_FAULT_COUNT
};

enum { FAKE_FAULT_NONE = -1, FAKE_FAULT_VALUES = 1 << 16 /* their numbers are below */ };

/* The number in the fault's words, in brackets, where they first stand in the text; FAKE_FAULT_NONE when they
 * do not, or with no number that it can have. */
int32_t fake_fault_find(const char *begin, const char *end, enum fake_fault fault);

/* Reads a list of words without brackets, with commas between them; "" is none. Fills in all numbers,
 * FAKE_FAULT_NONE for those that are not said; of one said twice the last counts. CONFIG_INVALID names what
 * is wrong and which words there are. */
MUST_USE enum status fake_faults_read(const char *text, int32_t numbers[FAKE_FAULT_COUNT],
                                      struct error *error);
