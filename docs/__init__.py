"""For those who use Reach; `reference` is written from the source."""
