/* A folder for the logs and configurations of one run of a benchmark. */
#pragma once

enum { SCRATCH_PATH_MAX = 256 };

struct scratch {
    char path[SCRATCH_PATH_MAX];
};

/* Below $TMPDIR or /tmp; exits on failure. */
void scratch_make(struct scratch *scratch);
/* With all that is in it. A run that fails leaves it there, for its logs. */
void scratch_remove(struct scratch *scratch);
