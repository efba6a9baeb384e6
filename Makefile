# make build   bin/superd and bin/superctl
# make demo    starts them with three example pools, shows what they do, stops them
# make test    everything that must hold (installs what the tests need, given the right)
# make race fuzz soak repeat peers vm bench lint   the long ones

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)
PREFIX   ?= /usr/local
UNITDIR  ?= $(PREFIX)/lib/systemd/system
BIN      ?= bin

# Where an ordering of goroutines can be wrong: checked by every make test.
CORE     := ./signals ./config ./rpc/... ./supervisor/store ./supervisor/keeper ./supervisor/logs

# What make race looks at.
RACE     ?= ./...

.PHONY: build demo test fmt race fuzz soak repeat peers vm bench lint man install clean
.DEFAULT_GOAL := build

build:
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/superd ./cmd/superctl

demo: build
	@contrib/examples/demo.sh

test: fmt
	@.ci/packages
	$(GO) vet ./...
	$(GO) test -timeout 15m ./...
	CGO_ENABLED=1 $(GO) test -race -short -timeout 10m $(CORE)

fmt:
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt has something to say about:"; echo "$$unformatted"; exit 1; fi

race:
	CGO_ENABLED=1 $(GO) test -race -timeout 30m $(RACEFLAGS) $(RACE)

# FUZZTIME=10s for each target
fuzz:
	@.ci/fuzz

# SOAKKILLS=300 SOAKWORKERS=200 SOAKSEED=... SOAKDIR=...
soak:
	@.ci/soak

# All tests again and again, in random order, for REPEATTIME=600 seconds
repeat:
	@.ci/repeat

# What the documents for newcomers promise, beside the former supervisors themselves.
peers:
	@PEERS=1 .ci/packages
	PEERS=1 $(GO) test -count=1 -timeout 15m -run TestFrom -v ./contrib/examples

# What hangs on the kernel on an older one, in a virtual machine.
vm:
	@.ci/vm

bench: build
	@.ci/packages
	$(GO) run -buildvcs=false ./contrib/bench

lint: fmt
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

man:
	$(GO) run -buildvcs=false ./contrib/man -version '$(VERSION)' -o $(BIN)/man

install: build man
	install -D -t $(DESTDIR)$(PREFIX)/bin $(BIN)/superd $(BIN)/superctl
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(BIN)/man/superctl.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 $(BIN)/man/superd.toml.5
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $(BIN)/man/superd.8
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/bash-completion/completions contrib/completions/superctl
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions contrib/completions/_superctl
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d contrib/completions/superctl.fish
	install -d $(DESTDIR)$(UNITDIR)
	for unit in superd.service superd.socket; do \
		sed 's,/usr/local/bin/,$(PREFIX)/bin/,' contrib/systemd/$$unit >$(DESTDIR)$(UNITDIR)/$$unit && \
		chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; \
	done

clean:
	rm -rf bin
