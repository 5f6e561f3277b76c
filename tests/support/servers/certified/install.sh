#!/usr/bin/env bash
# Installs the certified OpenID provider that tests sign in at, into .openid-provider: npm's ordinary
# client brings what package-lock.json pins by hash, and runs no script of it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$here/../../../../.openid-provider
mkdir -p "$target"
cp "$here/package.json" "$here/package-lock.json" "$target"
cd "$target"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
