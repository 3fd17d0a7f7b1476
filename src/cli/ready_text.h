/* What `mlxd serve` prints when everything is ready: where it is, what it serves, and how to try it. */
#pragma once

#include "base/buf.h"
#include "cli/cluster_view.h"
#include "config/config.h"

void ready_text_write(const struct config *config, const struct cluster_view *view, struct buf *out);
