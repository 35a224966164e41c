"""One file per subcommand: options -> config -> one core call -> output. No logic here."""
