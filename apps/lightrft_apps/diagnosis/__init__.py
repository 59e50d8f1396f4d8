"""What ails a machine or a run: `lightrft doctor`."""
