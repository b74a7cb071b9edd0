"""What moves a running VM: its options, its checks, its outcome, its cancellation."""

__all__: list[str] = []
