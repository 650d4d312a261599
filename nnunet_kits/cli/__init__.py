"""The command line: one file a verb, named as the verb. Nothing else imports it."""
