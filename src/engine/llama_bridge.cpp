/* Why not common_chat_templates_apply(): it prints the time of the call instead of the given one, derives a
 * parser for tool calls from the template on every call (milliseconds), and loses which text came from the
 * client. So this runs the template's program itself and prepares the messages as the template can take them.
 */
#include "engine/llama_bridge.h"

#include <climits>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "chat.h"
#include "llama.h"
#include "log.h"

struct llama_bridge {
    common_chat_template chat;
    bool prints_time;
    bool knows_developer; /* the role, not only "system" */

    llama_bridge(const std::string &source, const std::string &bos, const std::string &eos)
        : chat(source, bos, eos), prints_time(source.find("strftime_now") != std::string::npos),
          knows_developer(source.find("developer") != std::string::npos) {}
};

namespace {

/* strftime_now in a template uses localtime(), whose result is one buffer for the whole process. */
std::mutex time_mutex;

std::string piece_of(const llama_vocab *vocab, llama_token token) {
    if (token == LLAMA_TOKEN_NULL)
        return "";
    char piece[256];
    int32_t len = llama_token_to_piece(vocab, token, piece, sizeof(piece), 0, true);
    return len > 0 ? std::string(piece, static_cast<size_t>(len)) : "";
}

__attribute__((format(strftime, 2, 0))) std::string local_time(int64_t now_s, const char *format) {
    time_t now = static_cast<time_t>(now_s);
    struct tm parts;
    char text[64];
    if (!localtime_r(&now, &parts))
        return "";
    return std::string(text, strftime(text, sizeof(text), format, &parts));
}

/* For templates without a system role: its text goes in front of the message that follows. */
void fold_system(std::vector<common_chat_msg> &messages) {
    while (messages.size() > 1 && messages[0].role == "system") {
        std::string text = messages[0].render_content("\n");
        common_chat_msg &next = messages[1];
        if (next.content_parts.empty()) {
            next.content = text + "\n" + next.content;
        } else {
            common_chat_msg_content_part part;
            part.type = "text";
            part.text = text;
            next.content_parts.insert(next.content_parts.begin(), part);
        }
        messages.erase(messages.begin());
    }
    if (messages.size() == 1 && messages[0].role == "system")
        messages[0].role = "user";
}

void parse_arguments(common_json &message) {
    if (!message.contains("tool_calls"))
        return;
    for (auto &call : message["tool_calls"]) {
        common_json &arguments = call["function"]["arguments"];
        if (arguments.is_string())
            arguments = common_json::parse(arguments.get<std::string>());
    }
}

common_json prepare_messages(const llama_bridge &bridge, const char *messages_json) {
    const chat_template_caps &caps = bridge.chat.caps;
    std::vector<common_chat_msg> messages =
        common_chat_msgs_parse_oaicompat(common_json::parse(messages_json));
    if (messages.empty())
        throw std::invalid_argument("no messages");
    for (auto &message : messages) {
        if (message.role == "developer" && !bridge.knows_developer)
            message.role = "system";
    }
    if (!caps.supports_system_role)
        fold_system(messages);

    common_json out = common_json::array();
    for (const auto &message : messages) {
        common_json one = message.to_json_oaicompat(!caps.supports_typed_content);
        if (!caps.supports_string_content && one["content"].is_string()) {
            std::string text = one["content"].get<std::string>();
            one["content"] = common_json::array({common_json{{"type", "text"}, {"text", text}}});
        }
        if (caps.supports_object_arguments)
            parse_arguments(one);
        out.push_back(one);
    }
    return out;
}

jinja::value_string run_template(const llama_bridge &bridge, const common_json &messages, int64_t now_s) {
    jinja::context context(bridge.chat.source());
    context.current_time = static_cast<time_t>(now_s);
    jinja::global_from_json(context, common_json{{"messages", messages}}, true);
    common_json ours = common_json{{"bos_token", bridge.chat.bos_token()},
                                   {"eos_token", bridge.chat.eos_token()},
                                   {"add_generation_prompt", true},
                                   {"enable_thinking", true},
                                   {"date_string", local_time(now_s, "%d %b %Y")},
                                   {"datetime", local_time(now_s, "%b %d %Y")}};
    jinja::global_from_json(context, ours, false);
    jinja::runtime runtime(context);
    std::unique_lock<std::mutex> lock(time_mutex, std::defer_lock);
    if (bridge.prints_time)
        lock.lock();
    return jinja::runtime::gather_string_parts(runtime.execute(bridge.chat.prog));
}

/* False: no memory. */
bool copy_parts(const jinja::value_string &rendered, llama_bridge_text *out) {
    const auto &parts = rendered->val_str.parts;
    size_t len = 0, client_count = 0;
    for (const auto &part : parts) {
        len += part.val.size();
        client_count += part.is_input && !part.val.empty();
    }
    out->text = static_cast<char *>(malloc(len + 1));
    out->client = static_cast<llama_bridge_span *>(malloc((client_count + 1) * sizeof(*out->client)));
    if (!out->text || !out->client) {
        llama_bridge_text_release(out);
        return false;
    }
    for (const auto &part : parts) {
        if (part.val.empty())
            continue;
        memcpy(out->text + out->len, part.val.data(), part.val.size());
        if (part.is_input)
            out->client[out->client_count++] = {out->len, out->len + part.val.size()};
        out->len += part.val.size();
    }
    return true;
}

/* The interpreter puts the position and an excerpt of the template in front of the reason. */
std::string reason_of(const std::exception &e) {
    std::string text = e.what();
    size_t at = text.rfind("Error: ");
    if (at != std::string::npos)
        text = text.substr(at + strlen("Error: "));
    while (!text.empty() && (text.front() == '\n' || text.front() == ' '))
        text.erase(text.begin());
    return text.substr(0, text.find('\n'));
}

} // namespace

llama_bridge *llama_bridge_new(const llama_model *model, struct error *error) {
    static std::once_flag quiet;
    try {
        std::call_once(quiet, [] { common_log_set_verbosity_thold(-1); });
        const llama_vocab *vocab = llama_model_get_vocab(model);
        common_chat_templates_ptr found = common_chat_templates_init(model, "");
        return new llama_bridge(common_chat_templates_source(found.get()),
                                piece_of(vocab, llama_vocab_bos(vocab)),
                                piece_of(vocab, llama_vocab_eos(vocab)));
    } catch (const std::exception &e) {
        error_set(error, STATUS_MODEL_LOAD_FAILED, nullptr, "the model's chat template does not parse: %s",
                  reason_of(e).c_str());
    } catch (...) {
        error_set(error, STATUS_MODEL_LOAD_FAILED, nullptr, "the model's chat template does not parse");
    }
    return nullptr;
}

void llama_bridge_free(llama_bridge *bridge) {
    delete bridge;
}

bool llama_bridge_takes_tools(const llama_bridge *bridge) {
    return bridge->chat.caps.supports_tools;
}

void llama_bridge_text_release(llama_bridge_text *text) {
    if (!text)
        return;
    free(text->text);
    free(text->client);
    *text = llama_bridge_text();
}

enum status llama_bridge_render(const llama_bridge *bridge, const char *messages_json, int64_t now_s,
                                llama_bridge_text *out, struct error *error) {
    *out = llama_bridge_text();
    common_json messages;
    try {
        messages = prepare_messages(*bridge, messages_json);
    } catch (...) {
        /* What was thrown quotes the messages, and they are the client's. */
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "messages",
                         "the messages are not a JSON array of objects with a role and text as content");
    }
    try {
        if (copy_parts(run_template(*bridge, messages, now_s), out))
            return STATUS_OK;
        return error_set(error, STATUS_ENGINE_ERROR, nullptr, "no memory for the prompt");
    } catch (const std::bad_alloc &) {
        return error_set(error, STATUS_ENGINE_ERROR, nullptr, "no memory for the prompt");
    } catch (const std::exception &e) {
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "messages",
                         "the model's chat template refuses the messages: %s", reason_of(e).c_str());
    } catch (...) {
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "messages",
                         "the model's chat template refuses the messages");
    }
}

int32_t llama_bridge_tokenize(const llama_vocab *vocab, const char *text, size_t len, int32_t *tokens,
                              int32_t cap, bool parse_markers) {
    if (len > INT32_MAX)
        return -1;
    try {
        int32_t count =
            llama_tokenize(vocab, text, static_cast<int32_t>(len), tokens, cap, false, parse_markers);
        if (count == INT32_MIN)
            return -1;
        return count < 0 ? -count : count;
    } catch (...) {
        return -1;
    }
}
