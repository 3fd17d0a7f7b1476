# The short face of CMakePresets.json and scripts/. `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help ready-to-serve ready-to-bench ready-to-compare setup build release serve test asan tsan cov fuzz tidy fmt fmt-check
.PHONY: bench bench-model bench-compute bench-prefix bench-kv bench-routing bench-memory docs clean
JOBS ?= $(shell nproc)
TIME ?= 30
ROUNDS ?= 7
STREAMS ?= 10000
REQUESTS ?= 1000000
export MLX_JOBS := $(JOBS)
llama_bin = $$(scripts/get-llama.sh --print-dir)/bin
big_model = build/release/bin/bench_make_model --tokenizer models/tiny-chat-q8_0.gguf
bench_model = $(or $(MODEL),$$($(big_model)))
serve = exec build/release/bin/mlxd serve $(ARGS)
dry_run = $(findstring n,$(firstword -$(MAKEFLAGS)))
sources = $(shell find src tests bench scripts -name node_modules -prune -o \
	\( -name '*.c' -o -name '*.h' -o -name '*.cpp' \) -print)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## install what is missing (apt, llama.cpp)
	@scripts/setup.sh

configure-%:
	@cmake --preset $* >/dev/null

build-%: configure-%
	@cmake --build --preset $* -j $(JOBS)

build: build-dev ## debug build, build/dev

release: build-release ## optimised build, build/release

# mlxd takes make's own place, where this make can do that; scripts/exec_in_place.c says why.
serve: build/exec_in_place.so ## start a cluster: make serve ARGS="--config my.yaml"
	$(eval -load build/exec_in_place.so)$(if $(dry_run),,$(exec-in-place $(serve)))
	@$(serve)

build/exec_in_place.so: scripts/exec_in_place.c ready-to-serve
	@$(CC) -shared -fPIC -o $@ $< 2>/dev/null || rm -f $@

ready-to-serve:
	@scripts/setup.sh --for serve
	@$(MAKE) --no-print-directory release

test: ## all tests, against the debug build
	@scripts/setup.sh --for test
	@$(MAKE) --no-print-directory build
	@scripts/node-modules.sh
	@scripts/run-tests.sh dev $(ARGS)

asan: build-asan ## all tests under address, leak and undefined behaviour sanitizers
	@scripts/node-modules.sh
	@scripts/run-tests.sh asan $(ARGS)

tsan: build-tsan ## unit and cluster tests under the thread sanitizer
	@scripts/run-tests.sh tsan $(ARGS)

cov: build-cov ## all tests, then the line coverage of each file
	@scripts/node-modules.sh
	@find build/cov -name '*.gcda' -delete
	@scripts/run-tests.sh cov $(ARGS)
	@scripts/coverage.sh

fuzz: build-fuzz ## every fuzz target for TIME=30 seconds
	@scripts/fuzz.sh $(TIME)

tidy: configure-dev ## clang-tidy over src
	@scripts/tidy.sh

fmt: ## format all C
	@clang-format -i $(sources)

fmt-check: ## fail if some C is not formatted
	@clang-format --dry-run -Werror $(sources)

bench: ready-to-compare ## measure next to llama-server of the same source: make bench ARGS="--rounds 9"
	@build/release/bin/bench_throughput --mlxd build/release/bin/mlxd --model models/tiny-chat-q8_0.gguf \
		--llama-server "$(llama_bin)/llama-server" $(ARGS)

bench-model: ready-to-compare ## make the 146M model of the next ones in the cache folder; prints its path
	@$(big_model)

bench-compute: ready-to-compare ## the same where the engine has to work, and next to the engine alone
	@build/release/bin/bench_throughput --mlxd build/release/bin/mlxd --model "$(bench_model)" \
		--llama-server "$(llama_bin)/llama-server" --batched-bench "$(llama_bin)/llama-batched-bench" \
		--clients 1,4,8,16 --slots 16 --requests 2 $(ARGS)

bench-prefix: ready-to-compare ## conversations that grow, with prefix reuse: make bench-prefix MODEL=models/tiny-chat-q8_0.gguf
	@build/release/bin/bench_prefix --mlxd build/release/bin/mlxd --model "$(bench_model)" \
		--llama-server "$(llama_bin)/llama-server" $(ARGS)

bench-kv: ready-to-compare ## what becomes of requests when the KV cache is far too small; MODEL as above
	@build/release/bin/bench_kv_full --mlxd build/release/bin/mlxd --model "$(bench_model)" \
		--llama-server "$(llama_bin)/llama-server" $(ARGS)

bench-routing: ready-to-bench ## what the controller costs: picks, added latency, requests/s: make bench-routing ROUNDS=9
	@build/release/bin/bench_routing
	@echo
	@build/release/bin/bench_path --mlxd build/release/bin/mlxd --nats-server "$$(PATH=$$PATH:/usr/sbin command -v nats-server)" \
		--nginx "$$(PATH=$$PATH:/usr/sbin command -v nginx)" --rounds $(ROUNDS)

bench-memory: ready-to-bench ## what the controller needs in memory: make bench-memory REQUESTS=1000000 STREAMS=10000
	@build/release/bin/bench_memory --mlxd build/release/bin/mlxd --nats-server "$$(PATH=$$PATH:/usr/sbin command -v nats-server)" \
		--streams $(STREAMS) --requests $(REQUESTS)

ready-to-compare: configure-release
	@scripts/setup.sh --for serve >&2
	@scripts/get-llama.sh --server >&2
	@cmake --build --preset release -j $(JOBS) --target mlxd bench >&2

ready-to-bench:
	@scripts/setup.sh --for bench
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS) --target mlxd bench

docs: build ## regenerate the documents that mlxd prints
	@scripts/docs.sh build/dev/bin/mlxd

clean: ## remove build/
	rm -rf build
