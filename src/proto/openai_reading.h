/* What the two readers of a chat completion's body share: openai_read.c has the fields beside the messages,
 * openai_messages.c the messages. */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/error.h"
#include "proto/chat.h"

/* One body being read. */
struct reading {
    const json_t *body;
    struct chat_request *chat;
    struct error *error;
};

/* Sets the error "<param> <message>"; always false, so that a reader can return it. */
bool reading_refuse(struct reading *reading, const char *param, const char *format, ...) PRINTF_LIKE(3, 4);

/* The name of a field, as in messages[2].content[0].type: `key` of `at`, and an element of it. Cheap, since
 * names are made for every message, not only for those that are refused. */
void reading_name_member(char out[ERROR_PARAM_MAX], const char *at, const char *key);
void reading_name_element(char out[ERROR_PARAM_MAX], const char *at, size_t index);

/* required_skills: an array of words. */
bool openai_read_skills(struct reading *reading);

/* Checks messages and copies them into the request's messages_json. */
bool openai_read_messages(struct reading *reading);
