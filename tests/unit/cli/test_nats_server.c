#include "cli/nats_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/cores.h"

static void check_command(const char *processors_wanted) {
    struct runtime_dir dir;
    struct nats_server server;
    struct error error;
    assert_int_equal(runtime_dir_make(&dir, "/tmp", &error), STATUS_OK);
    assert_int_equal(nats_server_prepare(&server, &dir, &error), STATUS_OK);
    struct child_command command = nats_server_command(&server, "/usr/sbin/nats-server");
    assert_string_equal(command.program, "/usr/sbin/nats-server");
    assert_string_equal(command.args[2], server.config_path);
    if (processors_wanted) {
        assert_string_equal(command.variable, "GOMAXPROCS");
        assert_string_equal(command.value, processors_wanted);
    } else {
        assert_null(command.variable);
    }
    nats_server_release(&server);
    runtime_dir_remove(&dir);
}

static void it_gets_a_quarter_of_the_processors_and_at_least_one(void **state) {
    (void)state;
    unsetenv("GOMAXPROCS");
    int32_t processors = (cores_usable("") + 3) / 4;
    char wanted[12];
    assert_true(processors >= 1);
    snprintf(wanted, sizeof wanted, "%d", processors);
    check_command(wanted);
}

static void what_the_environment_says_of_processors_stays(void **state) {
    (void)state;
    setenv("GOMAXPROCS", "3", 1);
    check_command(NULL);
    unsetenv("GOMAXPROCS");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_gets_a_quarter_of_the_processors_and_at_least_one),
        cmocka_unit_test(what_the_environment_says_of_processors_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
