"""Models out to and in from the layouts of Hugging Face transformers and mamba-ssm."""
