# Three commands do everything on a fresh Debian machine: `make demo`, `make test` and `make test-guest`. They install what is
# missing.

PACKAGES := libseccomp-dev busybox-static gcc pkg-config iproute2 strace
TARGET   := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE  := target/$(TARGET)/release/corten
DEBUG    := target/$(TARGET)/debug/corten
TESTS    := target/integration
FAULTS   := target/faults
ENGINE_TESTS := target/engines
# What the tests under engines install.
ENGINES  := docker.io containerd podman buildah conmon containernetworking-plugins iptables iproute2 protobuf-compiler runc
# What it is measured against.
BENCHED  := crun runc
# A peer's reports are not ours.
REPORTS  := target/reports$(if $(CORTEN),-of-peer)
GUEST    := target/guest
RULES    := $(REPORTS)/rules

export CORTEN_COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)

.PHONY: build debug demo test lint unit rules faults faults-only faults-sample fault-tests integration integration-hybrid integration-cgroup2 \
    engines engines-guest test-guest guest tests engine-tests fuzz conformance bench bench-parts bench-seccomp order \
    conformance-runtime-tools packages lint-packages \
    engine-packages fuzz-packages install

build: packages
	cargo build --release --bins

debug: packages
	cargo build --bins

demo: build
	integration/demo $(RELEASE)

# Formatting, lints, layers (a unit test), unit tests, the table of the specification's rules, integration tests on both views of
# the machine's cgroups, a sample of the faults, engines, and a little fuzzing.
test: lint unit rules integration faults-sample engines fuzz
test: FUZZ_SECONDS = 20

lint: lint-packages
	cargo fmt --all --check
	cargo fmt --check --manifest-path integration/fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --lib --quiet

unit: packages
	cargo test --lib --bins
	cargo test --doc

# No rule of the specification without a row in integration/spec_rules, no row without tests that exist, and docs/conformance.md
# is what they say.
rules: tests
	mkdir -p $(RULES)
	cargo test --lib --bins -- --list --format terse >$(RULES)/unit-tests
	$(TESTS) --list --format terse >$(RULES)/container-tests
	integration/conformance check $(RULES)/unit-tests $(RULES)/container-tests
	integration/conformance document | diff docs/conformance.md -

# As the machine is, and with a pure cgroup v2 hierarchy in a private mount namespace.
integration: integration-hybrid integration-cgroup2

integration-hybrid: tests
	integration/suite $(REPORTS)/hybrid $(TESTS)

integration-cgroup2: tests
	integration/cgroup2-view integration/suite $(REPORTS)/cgroup2 $(TESTS)

# Every command, killed and refused at each of its system calls, on both views: a table, and what was not clean (docs/faults.md);
# and a minute of commands at once, and containers by the thousand. It takes an hour and a half. `make faults-only
# WORDS="create host"` tries the points with these words in their names.
faults: fault-tests tests
	status=0; \
	integration/faults/on-both-views $(FAULTS) || status=1; \
	CORTEN_SECONDS=60 CORTEN_TIMES=50 integration/faults/on-both-views $(TESTS) concurrency:: troubled_machines:: || status=1; \
	exit $$status

faults-only: fault-tests
	integration/faults/on-both-views $(FAULTS) --only "$(WORDS)"

# The same ones of them each time.
faults-sample: fault-tests
	integration/faults/on-both-views $(FAULTS) --points 300

fault-tests: packages
	$(call test_binary,--test faults,$(FAULTS))

# The test binaries, under names that are known: cargo test WHAT..., linked to a name.
test_binary = ln -f "$$(cargo test $(1) --no-run --message-format json-render-diagnostics | sed -n 's/.*"kind":\["test"\].*"executable":"\([^"]*\)".*/\1/p')" $(2)

bench_binary = ln -f "$$(cargo bench $(1) --no-run --message-format json-render-diagnostics | sed -n 's/.*"kind":\["bench"\].*"executable":"\([^"]*\)".*/\1/p')" $(2)

tests: packages
	$(call test_binary,--test integration,$(TESTS))

# The tests of the specification's rules, and what came of each rule. What `make test-guest` has found is shown as well if the
# program has not changed since. Writes docs/conformance.md.
named = --exact $$(integration/conformance names $(1))
conformance: tests
	mkdir -p $(RULES)
	integration/conformance document >docs/conformance.md
	-cargo test --lib --bins -- $(call named,unit) >$(RULES)/unit.out
	-integration/suite $(RULES)/hybrid $(TESTS) $(call named,container) >/dev/null
	-integration/cgroup2-view integration/suite $(RULES)/cgroup2 $(TESTS) $(call named,container) >/dev/null
	integration/conformance table $(addprefix $(RULES)/,unit hybrid cgroup2) \
	    $$(cmp -s $(DEBUG) $(GUEST)/corten && echo $(GUEST_REPORTS))

# The program under real engines: `make engines FILTER=docker::exec` for some of the cases, and with CORTEN=/usr/sbin/runc for runc.
engines: debug engine-packages engine-tests
	CORTEN=$(abspath $(or $(CORTEN),$(DEBUG))) integration/engines/suite $(REPORTS)/engines $(ENGINE_TESTS) $(FILTER)

engine-tests: lint-packages
	$(call test_binary,--package engines,$(ENGINE_TESTS))

# The same tests in guests with systemd (integration/vm), one with all controllers on cgroup v2 and AppArmor, one with v1 and
# SELinux, and what they showed together: which test was skipped in which run and why. Fails if one was skipped in all of them.
# What systemd and CRIU have a part in is killed and refused there (docs/faults.md). And engines, whose cgroups systemd makes: of
# their cases those for which that makes a difference.
OTHER := systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 apparmor=0 security=selinux selinux=1 enforcing=0
GUEST_CASES := ::limits update_limits isolation::memory cgroup_namespace life::pause life::stop ::stats ::resources \
    from_creation_to_removal exec::prints left_processes stops_and_goes containerd::checkpoint
GUEST_REPORTS := $(addprefix $(GUEST)/reports/,guest user session v1 selinux)

test-guest: guest
	status=0; \
	integration/vm/vm run $(GUEST) '/mnt/passes unified' || status=$$?; \
	integration/vm/vm run $(GUEST) '/mnt/passes faults' || status=$$?; \
	integration/vm/vm run $(GUEST) 'CORTEN_CASES="$(GUEST_CASES)" /mnt/passes engines' || status=$$?; \
	CORTEN_VM_ARGUMENTS='$(OTHER)' integration/vm/vm run $(GUEST) '/mnt/passes other' || status=$$?; \
	exit $$status
	integration/coverage $(REPORTS)/hybrid $(REPORTS)/cgroup2 $(GUEST_REPORTS)

# All cases of the engines in a guest, which takes half an hour, or with FILTER="docker:: cri::" those with such a part in their
# names.
engines-guest: guest
	integration/vm/vm run $(GUEST) 'CORTEN_CASES="$(FILTER)" /mnt/passes engines'

guest: tests engine-tests fault-tests
	rm -rf $(GUEST) && mkdir -p $(GUEST)
	cp $(DEBUG) $(TESTS) $(FAULTS) $(ENGINE_TESTS) integration/suite integration/vm/passes integration/vm/for-root $(GUEST)
	cp integration/engines/suite $(GUEST)/engines-suite

# Each target of integration/fuzz for so many seconds, two at a time.
FUZZ_SECONDS = 600
fuzz: fuzz-packages
	integration/fuzz/run $(FUZZ_SECONDS)

# What corten's commands take, beside crun, runc and the kernel's work alone; on an otherwise idle machine, for ten minutes. Writes
# docs/benchmarks.md and the chart beside it.
BENCH_ROUNDS := 40
bench: packages
	$(call install,$(BENCHED))
	$(call bench_binary,--bench launch,target/bench-launch)
	$(call bench_binary,--bench floor,target/bench-floor)
	$(MAKE) build
	benches/run $(RELEASE) $(BENCH_ROUNDS) docs/benchmarks

# In which order the linker puts the functions of the release, after a new compiler or package: a quarter of an hour. Like the
# benchmark's, this program of ours needs features of packages that the release has not, and cargo makes the one over the other.
order: packages
	$(call bench_binary,--bench order,target/bench-order)
	CORTEN_LINK_MAP=$(abspath target/corten.map) $(MAKE) build
	unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
	    integration/cgroup2-view target/bench-order target/corten.map $(RELEASE) >target/symbols
	cp target/symbols benches/order/symbols

# What a start costs before anything is touched, part by part.
bench-parts: packages
	cargo bench --bench parts

# Docker's default profile compiled and loaded, beside libseccomp's filters.
bench-seccomp: packages
	cargo bench --bench seccomp

# `make integration CORTEN=/usr/sbin/runc` runs the same tests against another runtime.
#
# RUNTIME_TOOLS names a directory with the prebuilt validation suite of opencontainers/runtime-tools.
conformance-runtime-tools: debug
	RUNTIME=$(abspath $(DEBUG)) runtime-tools-tests/run --view hybrid
	RUNTIME=$(abspath $(DEBUG)) runtime-tools-tests/run --view cgroup2

# Says nothing and costs nothing when everything is there.
packages:
	$(call install,$(PACKAGES))

# What the packages of the workspace need to be built.
lint-packages: packages
	$(call install,protobuf-compiler)

fuzz-packages: packages
	$(call install,g++)

engine-packages: packages
	$(call install,$(ENGINES),$(no_daemons))

# Debian asks this file whether what was installed is to be started.
no_daemons = p=/usr/sbin/policy-rc.d; [ -e $$p ] || { trap "rm $$p" EXIT; printf '\#!/bin/sh\nexit 101\n' >$$p; chmod 755 $$p; };

# Installs the packages $(1), after the commands $(2), if one is missing.
define install
@missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then $(2) apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; fi
endef

install: build
	install -D -m 0755 $(RELEASE) $(DESTDIR)/usr/local/bin/corten
