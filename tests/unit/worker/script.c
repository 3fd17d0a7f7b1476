#include "script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void script_write(char path[SCRIPT_PATH_MAX], const char *body) {
    snprintf(path, SCRIPT_PATH_MAX, "/tmp/mlx-script-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "#!/bin/sh\n%s\n", body) > 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
}
