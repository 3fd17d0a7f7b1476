/* A runner in the surroundings of harness.h, for the tests of its jobs. */
#pragma once

#include "harness.h"
#include "worker/runner.h"

struct runner_rig {
    struct harness harness;
    struct runner *runner;
    const char *checker; /* of models; NULL: none is made */
    int loads;
    int stops;
    struct error load_error;
    int done;
    int ends[JOB_FAILED + 1];
};
extern struct runner_rig t;

int rig_setup(void **state);
int rig_teardown(void **state);

/* Begins to load; until it is loaded; both. */
void new_runner(void);
bool is_loaded(void *arg);
void start(void);

/* Takes the content of `wire` over. There must be room. */
struct job *submit(struct wire_job *wire);
struct job *submit_text(int index, const char *text);
/* Until so many jobs were given back. Their last events are seen by then. */
void wait_done(int done);
struct worker_load load_now(void);

/* For harness_wait, with an int: have so many prompts been made? */
bool prompts_made(void *arg);
/* With the gate closed: lets single steps through until so many jobs have slots; lets one through. */
void step_until_starts(int starts);
void step(void);
/* Lets single steps through until job 0 has a token. */
void step_until_first_token(void);
