"""What judges answers: rules, reward models and services, as a part of a run or by themselves."""
