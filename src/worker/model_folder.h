/* The models in a folder: its files named *.gguf, in the order of their names. Of a split model only the
 * first part. Folders in it are not looked into; hidden files are left out, and so are links that lead out of
 * the folder. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/error.h"

enum { MODEL_FOLDER_MAX = 256 }; /* files; more than can be served, for check-model */

struct model_folder {
    char *paths[MODEL_FOLDER_MAX]; /* owned; the folder's path and the file's name */
    size_t count;
    size_t left_out;    /* files named like a model that are none, or links that lead out of the folder */
    char left_name[64]; /* the first of them, cut */
    bool unsure;        /* there may be more: not all could be looked at */
};

/* CONFIG_INVALID when it cannot be read or holds too many. In any case `out` is to be released. Any thread.
 */
MUST_USE enum status model_folder_list(const char *folder, struct model_folder *out, struct error *error);
/* The same, and CONFIG_INVALID when it holds none. */
MUST_USE enum status model_folder_read(const char *folder, struct model_folder *out, struct error *error);
void model_folder_release(struct model_folder *folder); /* takes NULL; leaves it zeroed */
