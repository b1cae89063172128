# `make book` and `make test` do everything, on a machine with Python 3.11, make and git. Both may be repeated.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SCRATCH := .scratch
CHAPTERS := $(SCRATCH)/.executed
BOOK_FLAGS := -W -n --keep-going --all --quiet
NBVAL := $(BIN)/pytest -q -p no:cacheprovider --nbval --nbval-current-env --nbval-sanitize-with nbval.cfg book
CHECK := tests/check_pages
SOURCES = $(shell find radio_bnn book \( -name _build -o -name __pycache__ -o -name '.*' \) -prune -o -type f -print)

# Kernels work inside book/, so a relative path would mean something else there.
ifneq ($(strip $(RADIO_BNN_DATA)),)
override RADIO_BNN_DATA := $(if $(filter /% ~%,$(RADIO_BNN_DATA)),$(RADIO_BNN_DATA),$(CURDIR)/$(RADIO_BNN_DATA))
export RADIO_BNN_DATA
else
unexport RADIO_BNN_DATA
endif

# A build that fails, by a warning, has written its pages by then.
.DELETE_ON_ERROR:

.PHONY: help book test nbval nbval-elsewhere data chapters scoreboard bench pdf lint check-book chromium fuzz kill audit clean FORCE

help:
	@echo "make book        set up, execute the chapters in a scratch copy, build it, print the page to open"
	@echo "make test        set up, lint, unit tests, re-run the chapters' cells, build with warnings as errors"
	@echo "make chapters    execute the committed chapters in place (needs what they need, MiraBest included)"
	@echo "make scoreboard  collect the verdicts of the claim cells again, without executing anything"
	@echo "make bench       time engine and classify against a plain implementation, write the table of the appendix (an hour)"
	@echo "make kill        send SIGNALS=200 signals to all that writes and compare what the reruns leave (Linux, minutes)"
	@echo "make pdf         print the committed chapters into one PDF file (needs Chromium)"
	@echo "make check-book  look at every built page in headless Chromium, follow every link (needs node, npm and Chromium)"
	@echo "make fuzz        give every reader of a file CASES damaged ones (100000 each; the gate gives it 1000)"
	@echo "make audit       look up known vulnerabilities of the exact dependencies, where a registry answers"
	@echo "make clean       remove what the others built; $(VENV) stays"

# PYTHON=... chooses the interpreter of $(VENV); otherwise the first one found that is new enough.
$(INSTALLED): pyproject.toml constraints.txt
	@set -e; \
	if ! $(BIN)/python -c '' 2>/dev/null; then \
	  for python in $(if $(PYTHON),"$(PYTHON)",python3.11 python3 python); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$python"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "make: Python 3.11 or newer is needed and $(if $(PYTHON),$(PYTHON) is not,none was found); name one: make PYTHON=/path/to/python3.11 ..." >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv $(VENV); \
	fi; \
	echo "Installing the package and its exact dependencies into $(VENV) (minutes the first time)"; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt -e '.[dev]'; \
	touch $@

# One attempt to get MiraBest, here and nowhere else; without it the chapters use simulated galaxies and say so.
data: $(INSTALLED)
	@$(BIN)/python -m radio_bnn.data.mirabest

# Changes only when the data set changes, so that the chapters are executed again then.
$(SCRATCH)/data.txt: data FORCE
	@mkdir -p $(SCRATCH)
	@RADIO_BNN_OFFLINE=1 $(BIN)/python -m radio_bnn.data.mirabest > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(CHAPTERS): $(INSTALLED) $(SCRATCH)/data.txt $(SOURCES) _config.yml _toc.yml
	@rm -rf $(SCRATCH)/book
	$(BIN)/radio-bnn chapters --out $(SCRATCH)/book
	@touch $@

book: $(CHAPTERS)
	@rm -rf $(SCRATCH)/book/_build
	$(BIN)/jupyter-book build $(SCRATCH)/book $(BOOK_FLAGS)
	@echo
	@echo "The book is ready. Open $(CURDIR)/$(SCRATCH)/book/_build/html/index.html"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: data lint
	RADIO_BNN_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile
	@$(MAKE) --no-print-directory --output-sync=target -j 2 nbval nbval-elsewhere
	@$(MAKE) --no-print-directory book/_build/html/index.html

nbval: $(INSTALLED)
	$(NBVAL)

# "Another computer": PyTorch with the vector instructions of an older one, and no MiraBest.
nbval-elsewhere: $(INSTALLED)
	env -u RADIO_BNN_DATA RADIO_BNN_OFFLINE=1 RADIO_BNN_CACHE=$(CURDIR)/$(SCRATCH)/elsewhere \
	  ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 $(NBVAL)

book/_build/html/index.html: $(INSTALLED) $(SOURCES) _config.yml _toc.yml
	@rm -rf book/_build
	$(BIN)/jupyter-book build book $(BOOK_FLAGS)

chapters: data
	$(BIN)/radio-bnn chapters

scoreboard: $(INSTALLED)
	$(BIN)/radio-bnn scoreboard

bench: $(INSTALLED)
	TQDM_DISABLE=1 $(BIN)/python benchmarks/table.py book/_generated/benchmarks.md

# SEED=... repeats one in other moments.
SIGNALS ?= 200
SEED ?= 0
kill: $(INSTALLED)
	$(BIN)/python tests/hostile/kill.py --signals $(SIGNALS) --seed $(SEED)

# CHROMIUM=... chooses the browser; otherwise the first of the usual names.
CHROMIUM ?= $(firstword $(shell command -v chromium chromium-browser google-chrome google-chrome-stable))
export CHROMIUM

chromium:
	@[ -n "$(CHROMIUM)" ] || { echo "make: Chromium is needed and was not found; install it (Debian: apt-get install chromium) or name it: make CHROMIUM=/path/to/chromium ..." >&2; exit 1; }

pdf: chromium $(INSTALLED)
	$(BIN)/jupyter-book build book $(BOOK_FLAGS) --builder singlehtml
	"$(CHROMIUM)" --headless --no-sandbox --disable-gpu --virtual-time-budget=60000 --no-pdf-header-footer \
	  --print-to-pdf=book/_build/book.pdf "file://$(CURDIR)/book/_build/singlehtml/index.html"
	@[ -s book/_build/book.pdf ] && echo "The book is $(CURDIR)/book/_build/book.pdf"

check-book: chromium book/_build/html/index.html $(CHECK)/node_modules/.installed
	$(CHECK)/node_modules/.bin/linkinator book/_build/html --recurse --check-fragments --verbosity error \
	  --skip '^https?://(?!localhost|127)'
	node $(CHECK)/check.mjs book/_build/html

$(CHECK)/node_modules/.installed: $(CHECK)/package.json $(CHECK)/package-lock.json
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "make check-book needs node and npm" >&2; exit 1; }
	@cd $(CHECK) && PUPPETEER_SKIP_DOWNLOAD=1 npm ci --silent --no-audit --no-fund
	@touch $@

# A failure is printed with the command that repeats it; another SEED damages otherwise.
CASES ?= 100000
SEED ?= 0
fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python tests/hostile/fuzz.py --cases $(CASES) --seed $(SEED)

# Not a part of the gate: an advisory of tomorrow is no fault of today's change. Mirrors may hold packages and no advisories.
AUDIT := $(SCRATCH)/audit
audit: $(INSTALLED)
	@mkdir -p $(SCRATCH) && $(BIN)/python -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check --no-input pip-audit \
	  || { echo "make audit: skipped, no registry gives pip-audit"; exit 0; }; \
	$(AUDIT)/bin/pip-audit -r constraints.txt --no-deps --disable-pip --progress-spinner off >$(AUDIT)/found 2>&1; found=$$?; \
	if [ $$found = 0 ] && [ "$$(grep -c 'could not be audited' $(AUDIT)/found)" = "$$(grep -c '==' constraints.txt)" ]; then \
	  echo "make audit: skipped, the registry that answers knows no advisories"; \
	else cat $(AUDIT)/found; exit $$found; fi

clean:
	rm -rf $(SCRATCH) book/_build $(CHECK)/node_modules .pytest_cache .ruff_cache .hypothesis
