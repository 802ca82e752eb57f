"""The tables and figures of Ciga, Xu & Martel 2021: what each needs, ours beside theirs."""
