"""The rules on others' ground: published decentralised settings, as far as the data here allow."""
