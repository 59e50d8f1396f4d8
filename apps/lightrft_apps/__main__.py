"""`python -m lightrft_apps` is the `lightrft` command."""

from lightrft_apps.main import main

main()
