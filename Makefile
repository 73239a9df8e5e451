# Set-up, tests and checks. The two that matter: make demo, make test.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/installed
# Real parts that the tests start: a TURN server, an MQTT broker, PostgreSQL and browsers (what runs in them
# comes by npm), with what the driver of Chromium needs; and what the benchmarks put beside Liveman.
BROWSERS := chromium:chromium libatomic1:libatomic.so.1
DEBIAN := coturn:turnserver mosquitto:mosquitto postgresql:pg_ctlcluster $(BROWSERS) firefox-esr:firefox-esr npm:npm
BROWSER := tests/browser/node_modules/.package-lock.json
# What the dashboard takes from npm: bundled, and kept out of git.
BUNDLE := src/liveman/dashboard/static/dash.js
BENCH_DEBIAN := nginx-light:nginx wrk:wrk postgresql:pg_ctlcluster $(BROWSERS) mosquitto:mosquitto

.PHONY: install dashboard demo wheel screenshots test test-long check bench clean

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 is needed; name it with make PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,test,check]'
	@touch $@

dashboard: $(BUNDLE)

$(BUNDLE): frontend/package-lock.json frontend/build.mjs
	@./.ci/packages npm:npm
	npm ci --prefix frontend --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	node frontend/build.mjs
	@touch $@

# Without npm too: the pages that miss something say so.
demo: install
	@if ! command -v npm >/dev/null; then echo "Without npm: recordings cannot be played in the dashboard."; \
	else $(MAKE) --silent dashboard || echo "Recordings cannot be played in the dashboard, as it was not built."; fi
	@$(BIN)/liveman demo $(ARGS)

wheel: install $(BUNDLE)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

$(BROWSER): tests/browser/package-lock.json
	@./.ci/packages $(DEBIAN)
	npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

screenshots: install $(BUNDLE)
	@./.ci/packages $(BROWSERS)
	PYTHONPATH=tests $(BIN)/python -m dashboard.screenshots

test: install $(BROWSER) $(BUNDLE)
	@./.ci/packages $(DEBIAN)
	$(BIN)/python -m pytest -m "not long" -n auto --maxprocesses 4 --dist loadfile

test-long: install $(BROWSER) $(BUNDLE)
	@./.ci/packages $(DEBIAN)
	$(BIN)/python -m pytest -m long --timeout 900
	for i in 1 2 3 4 5; do $(BIN)/python -m pytest -q -m "hypothesis and not long" --hypothesis-profile random || exit; done

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src plugins/*/src examples/*/src plugins/*/tests examples/*/tests
	$(BIN)/python -m pytest -q tests/test_house.py

bench: install
	@./.ci/packages $(BENCH_DEBIAN)
	@missed=; for each in signalling latency streams lists idle placement index playback tokens auth snapshots cluster ice net4mqtt dashboard browsing; do \
	  echo "== bench/$$each.py"; $(BIN)/python bench/$$each.py || missed="$$missed $$each"; \
	done; [ -z "$$missed" ] || { echo "Not as wanted:$$missed"; exit 1; }

clean:
	rm -rf .venv tests/browser/node_modules frontend/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(addprefix src/liveman/dashboard/static/,dash.js qr.js third-party.txt)
