/* The skills that a request requires: an array in the body, or words in a header. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json_read.h"
#include "proto/openai.h"
#include "proto/openai_reading.h"

static bool has_skill(const struct chat_request *chat, const char *text, size_t len) {
    for (size_t i = 0; i < chat->required_skill_count; i++)
        if (strlen(chat->required_skills[i]) == len && memcmp(chat->required_skills[i], text, len) == 0)
            return true;
    return false;
}

/* NULL, or what is wrong with it. */
static const char *add_skill(struct chat_request *chat, const char *text, size_t len) {
    if (!skill_is_valid(text, len))
        return "must hold skills of 1 to 32 characters of A-Z a-z 0-9 _ . -";
    if (has_skill(chat, text, len))
        return NULL;
    if (chat->required_skill_count == CHAT_SKILLS_MAX)
        return "must not require more than 8 skills";
    char *copy = strndup(text, len);
    if (!copy)
        return "could not be stored: out of memory";
    chat->required_skills[chat->required_skill_count++] = copy;
    return NULL;
}

static_assert(SKILL_MAX == 32 && CHAT_SKILLS_MAX == 8, "add_skill tells these limits");

bool openai_read_skills(struct reading *reading) {
    const json_t *list = json_present(reading->body, "required_skills");
    if (!list)
        return true;
    if (!json_is_array(list))
        return reading_refuse(reading, "required_skills", "must be an array of strings, not %s",
                              json_kind(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *word = json_array_get(list, i);
        char name[ERROR_PARAM_MAX];
        reading_name_element(name, "required_skills", i);
        if (!json_is_string(word))
            return reading_refuse(reading, name, "must be a string, not %s", json_kind(word));
        const char *wrong = add_skill(reading->chat, json_string_value(word), json_string_length(word));
        if (wrong)
            return reading_refuse(reading, "required_skills", "%s", wrong);
    }
    return true;
}

enum status openai_read_skills_header(const char *text, struct chat_request *request, struct error *error) {
    for (const char *at = text;; at++) {
        at += strspn(at, " \t");
        size_t len = strcspn(at, ",");
        size_t trimmed = len;
        while (trimmed > 0 && (at[trimmed - 1] == ' ' || at[trimmed - 1] == '\t'))
            trimmed--;
        const char *wrong = add_skill(request, at, trimmed);
        if (wrong)
            return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "X-Required-Skills",
                             "the header X-Required-Skills %s, with commas in between", wrong);
        at += len;
        if (!*at)
            return STATUS_OK;
    }
}
