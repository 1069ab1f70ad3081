"""The engine on an accelerator: the same quadrature, PSFs, noise and sums over flat lists of a whole batch. Private.

Imported only where a device other than the processor is asked for, so that nothing else waits for torch.
"""
