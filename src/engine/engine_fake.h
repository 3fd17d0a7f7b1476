/* The fake engine: no model, no arithmetic, the same behaviour at every run. For tests of everything around
 * an engine, and for measuring the server without the cost of a model. Nobody should serve it to people.
 *
 * The prompt: each message becomes a start token and one token for every four bytes of its JSON; the same
 * message always gives the same tokens, so conversations that share their first messages share a prefix. A
 * last token starts the reply.
 *
 * The reply: its length is fake_reply_tokens, or 8..64 chosen by the prompt; then the end token. Each token
 * is a hash of all tokens before it and of the seed (left out at temperature 0), so that a scheduler that
 * feeds a wrong token, or the right one at the wrong place, gets other text than engine_fake_reply tells.
 * Most tokens are a lower-case word and a space; at 7 and 8 of each 16 the two bytes of an e with acute
 * accent come as two tokens, and at 50..53 of each 64 the four bytes of an emoji as four, where the reply is
 * long enough.
 *
 * Faults, on demand by these words in the last user message (N: 0..65535; other text beside them is fine):
 *
 * - `[fail at N]`: when N tokens of the reply are generated, the slot gets ENGINE_ERROR instead of the next;
 * - `[step error at N]`: there the whole step fails, once for each start of the slot;
 * - `[crash at N]`: there the process aborts;
 * - `[hang at N]`: there the step takes an hour;
 * - `[slow xN]`: steps with this slot take N times as long;
 * - `[reply N]`: the reply has N tokens.
 *
 * Such words in a prompt go with the request to every worker that tries it. For a fault of one worker alone
 * its options have the same words, which then hold for each of its first fake_fault_jobs jobs, or for all;
 * the prompt's own words go before them. */
#pragma once

#include "base/attr.h"
#include "base/buf.h"
#include "engine/engine.h"
#include "proto/chat.h"

/* What a client must get for `chat` from a fake engine with these options: appends the reply's text, cut at
 * chat->max_tokens and the end of the context, whole characters only. Faults other than [reply N] and stop
 * strings are not looked at. Returns the number of tokens of the reply, without the end token; -1 when the
 * messages are not a JSON array of objects or do not fit into the context. */
MUST_USE int32_t engine_fake_reply(const struct chat_request *chat, const struct engine_options *options,
                                   struct buf *out);
