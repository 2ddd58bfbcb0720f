"""A detector written for other runtimes: one graph, as an ONNX file or a torch.export program."""
