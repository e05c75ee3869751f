# Two commands: `make run` and `make test`. Each says what it does and sets up what it needs.

# Where rustup puts cargo, should scripts/setup have to install it.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: build run test chaos bench bench-routing mutate lint check help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

build: ## everything `make run` needs; leaves target/release/dozvon
	@scripts/setup build
	cargo build --release --bins

run: build ## the engine on 127.0.0.1 with demo citizens and agents
	@scripts/demo

test: ## formatting, lints, brains alone, all rooms, foreign phones
	@scripts/setup test
	@scripts/test

chaos: ## does to a line under load whatever can go wrong, for more than an hour, and counts what was lost
	@scripts/setup build
	cargo test --release --test chaos -- --engine-kills 1000 --media-kills 200 --talking 50 --waiting 100 --robot 20 --cps 10 \
	  --calm-s 20 --hand-overs 50 --engine-stops 20 --media-stops 20 --disk-full 5 --clock 20 --crowd 2000 \
	  --database stopped --database slow --database read-only --database-s 600 --core down --core slow --core twice --core-s 60 \
	  --loss 5 --loss 20

bench: ## micro benches of brains, framer, media and journal
	@scripts/setup build
	cargo bench

# Traces and rosters; `dozvon generate` makes traces.
ROUTING ?= $(error say where traces and rosters are: make bench-routing ROUTING=folder)

bench-routing: build ## every routing policy on the same calls and seats
	scripts/bench-routing $(ROUTING)

mutate: ## changes the queue brain, one thing at a time, and tells what no test notices (an hour and more)
	nice scripts/mutate

lint: ## what `make test` checks before it runs anything
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

check: build ## the configurations and scripts of this repository
	target/release/dozvon check --config config/example.toml
	target/release/dozvon check --config config/demo.toml
	target/release/dozvon check --config config/bench.toml
