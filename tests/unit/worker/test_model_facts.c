#include "worker/model_facts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_header_tells_that_its_model_can_chat_and_use_tools(void **state) {
    (void)state;
    struct config config;
    struct model_facts facts;
    struct error error = {.status = STATUS_OK};
    config_init(&config);
    config.worker.engine = ENGINE_KIND_LLAMA; /* of which nothing is loaded */
    if (model_facts_read(&config, MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf", &facts, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(facts.capabilities,
                     model_capability_bit(CAPABILITY_CHAT) | model_capability_bit(CAPABILITY_TOOLS));
    config_release(&config);
}

static void of_a_file_that_is_not_sound_nothing_is_known(void **state) {
    (void)state;
    struct config config;
    struct model_facts facts;
    struct error error = {.status = STATUS_OK};
    config_init(&config);
    config.worker.engine = ENGINE_KIND_LLAMA;
    assert_int_equal(model_facts_read(&config, MLX_SOURCE_DIR "/README.md", &facts, &error),
                     STATUS_MODEL_LOAD_FAILED);
    assert_int_equal(facts.capabilities, 0);
    assert_int_equal(facts.memory_bytes, 0);
    config_release(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_tells_that_its_model_can_chat_and_use_tools),
        cmocka_unit_test(of_a_file_that_is_not_sound_nothing_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
