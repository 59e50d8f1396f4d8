@ECHO OFF
REM The manual as a site, in docs\build.
pushd %~dp0..
uv run sphinx-build -W -n --keep-going docs/source docs/build
popd
