/* The short way through a message of events: text that is spelt exactly as wire_events.c writes it (order of
 * members, no white space) is read in place, without building a tree of JSON values. Every token of every
 * stream comes this way; a tree took half of the controller's time. Anything else, failures among it, is left
 * to the general reader. */
#pragma once

#include "proto/wire.h"

/* As wire_read_events. false, and nothing was called, when the message must go the general way. */
bool wire_scan_events(const char *data, size_t len, wire_event_fn *fn, void *arg);
