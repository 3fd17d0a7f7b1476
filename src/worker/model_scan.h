/* What lies in the folders of cluster.worker.model_dirs, looked at every model_scan_interval_ms on a thread
 * of its own, since a file system may take its time.
 *
 * A file counts when two looks in a row have found it the same, so that one which is being copied is left
 * alone; then its header is read, once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "config/config.h"
#include "net/loop.h"
#include "worker/model_facts.h"

/* By which a changed file is known. Of a split model only the first part's. */
struct model_stamp { /* zeroed: no file */
    uint64_t device;
    uint64_t inode;
    int64_t size;
    int64_t changed_ns;
};
/* false, and zeroed: there is no such file. */
bool model_stamp_read(const char *path, struct model_stamp *out);
bool model_stamp_is_same(const struct model_stamp *a, const struct model_stamp *b);

struct model_file {
    char *path; /* owned */
    struct model_stamp stamp;
    bool settled; /* two looks have found it the same; then: */
    bool sound;   /* its header is */
    bool refused; /* the loop thread's: why it is not served is logged already */
    struct model_facts facts;
};

struct model_scan;

/* `on_scan` is called on the loop thread after each look. NULL: no memory, or descriptors. */
struct model_scan *model_scan_new(const struct config *config, struct loop *loop, loop_fn *on_scan,
                                  void *arg);
/* Waits for a look that is under way. Takes NULL. */
void model_scan_free(struct model_scan *scan);

/* Loop thread: what the newest look has found, until the next on_scan; to be written only in on_scan. */
struct model_file *model_scan_files(struct model_scan *scan, size_t *count);
struct model_file *model_scan_find(struct model_scan *scan, const char *path); /* NULL: not there */
/* Could all folders be read? Otherwise it says nothing about what is not there any more. */
bool model_scan_is_complete(const struct model_scan *scan);
