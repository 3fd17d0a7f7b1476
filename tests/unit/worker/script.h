/* A shell script as an executable file, to stand for a program. */
#pragma once

enum { SCRIPT_PATH_MAX = 64 };

/* `path` gets the name of the new file, which the caller deletes. */
void script_write(char path[SCRIPT_PATH_MAX], const char *body);
